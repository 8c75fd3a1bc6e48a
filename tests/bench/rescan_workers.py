"""How much more two worker processes do than one: `python -m tests.bench.rescan_workers [--quick]`. The last line is one JSON object.

two_workers        images a second of two processes over those of one: a new model on images that a folder holds, SQLite.
                   Files are read, decoded and measured, which is processor work, as it is for a host
two_workers_head   the same of head plans on PostgreSQL, null where PALISADE_TEST_POSTGRES_URL names no server: read, judged, written

Each process computes in one thread. What is counted begins when all of them have loaded their models and looked at one image, and ends
when the last posting is judged; `…_per_s` are the rates of one and of two. It takes two cores with nobody else's work on them; `…_cpu` are
the same by the processor time of the busier worker: what it would be on cores of their own, if neither waited for the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from detectors.base import Finding
from detectors.nsfw import NsfwDetector
from detectors.registry import DETECTORS
from detectors.signals import SignalsDetector
from moderation.application import Application
from moderation.policy import PolicyLibrary, Vocabulary
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from moderation.scans.service import HostContext, Upload
from moderation.settings import Settings, settings
from tests.factories import encode, picture
from tests.moderation.rescans.heads import CartoonHead, embeddings
from tests.moderation.rescans.stored import findings, store

ROOT = Path(__file__).parents[2]

POLICY = """name: bench
version: 1
description: For the measurement.
keep: none
on_error: hold
on_skipped: allow
rules:
  - name: explicit
    when: nsfw.fpr <= 0.0001
    action: hold
    queue: explicit
    reason: A person looks at it.
  - name: cartoon
    when: cartoon.fpr <= 0.001
    action: restrict
    reason: It is a cartoon.
examples:
  - name: an explicit one is held
    findings: {nsfw: {fpr: 0.00001}}
    action: hold
"""

VERSION = "PALISADE_BENCH_VERSION"
"""Environment variable: of the detector that measures the images anew. What was measured by the same one is not measured again."""


def version_of(workers: int) -> str:
    """Of the detector in a run of so many workers."""
    return f"of {workers}"


class NextNsfw(NsfwDetector):
    """The detector as a model of another version."""

    version = os.environ.get(VERSION, "next")


def application(folder: Path, url: str, detectors: tuple[type, ...]) -> Application:
    """With these detectors, and a policy that reads two of them."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies/bench.yaml").write_text(POLICY)
    values = {"data_dir": folder, "models_dir": settings().models, "policy": "bench", "database_url": url}
    made = Application(Settings(_env_file=None, chores_seconds=0, policies_dir=folder / "policies", **values))
    known = Scanner(made.runtime).detector("known")
    made.__dict__["scanner"] = Scanner(made.runtime, detectors=detectors)
    vocabulary = Vocabulary.of((*DETECTORS, CartoonHead))
    made.__dict__["policies"] = PolicyLibrary("bench", folder=folder / "policies", vocabulary=vocabulary)
    made.__dict__.update({"known": known, "likeness": None})
    return made


class Images:
    """A new model measures pictures of a folder."""

    detectors = (SignalsDetector, NextNsfw)

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        source = f"file://{folder}/images/{{external_id}}"
        self.spec = PlanSpec("model", detectors=("nsfw",), source=source)

    def fill(self, count: int) -> None:
        app = application(self.folder, self.url, (SignalsDetector, NsfwDetector))
        app.database.migrate()
        (self.folder / "images").mkdir()
        for number in range(count):
            data, name = encode(picture(320, 240, seed=number), "JPEG"), f"{number}.jpg"
            (self.folder / "images" / name).write_bytes(data)
            app.scans.scan("default", Upload(data, context=HostContext(external_id=name)))
        app.database.close()

    def warm(self, app: Application) -> None:
        app.rescans.dry_run("default", self.spec, sample=1)


class Heads:
    """A new head scores stored embeddings."""

    detectors = (*DETECTORS, CartoonHead)
    spec = PlanSpec("head", detectors=("cartoon",))

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def fill(self, count: int) -> None:
        app = application(self.folder, self.url, self.detectors)
        app.database.migrate()
        policy, model = app.policies.get(""), app.runtime.identity("clip_vit_b16")
        random = np.random.default_rng(5)
        for start in range(0, count, 2_000):
            numbers = range(start, min(count, start + 2_000))
            images = [[*findings(n), Finding("cartoon", "cartoon", score=0.2, fpr=0.5, model="older")] for n in numbers]
            vectors = embeddings(len(images), positive=random.random(len(images)) < 0.02, seed=start)
            store(app.database, policy, images, embeddings=vectors, embedding_model=model)
        plan = app.rescans.plan(
            "default", self.spec, actor="bench"
        )  # what changes, changes before anything is measured
        while app.rescans.advance("bench", plan_id=plan.id):
            pass
        app.database.close()

    def warm(self, app: Application) -> None:
        app.rescans.dry_run("default", self.spec, sample=10)


WORK: dict[str, type[Images] | type[Heads]] = {"images": Images, "heads": Heads}


def work(name: str, folder: Path, url: str) -> None:
    """One worker process: says `ready`, waits for a line, works until no plan runs, says `done` and the seconds on the processor."""
    kind = WORK[name](folder, url)
    app = application(folder, url, kind.detectors)
    kind.warm(app)
    print("ready", flush=True)
    sys.stdin.readline()
    used = time.process_time()
    while app.rescans.has_work():
        if not app.rescans.advance(f"worker {os.getpid()}"):
            time.sleep(0.01)
    print("done", time.process_time() - used, flush=True)


class Worker:
    """A process of `work`."""

    def __init__(self, kind: Images | Heads, name: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.bench.rescan_workers", "--worker", name, str(kind.folder), kind.url]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def heard(self, word: str) -> list[str]:
        """The words of the line that begins with this one, when it comes."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(word):
                return line.split()
        raise RuntimeError(f"A worker ended with {self.process.wait()} before it was {word}.")


def seconds_of(count: int, kind: Images | Heads, name: str) -> tuple[float, float]:
    """Seconds that so many processes take until no plan is left, and the processor's of the busiest one."""
    running = [
        Worker(kind, name, {**os.environ, "OMP_NUM_THREADS": "1", VERSION: version_of(count)}) for _ in range(count)
    ]
    for worker in running:
        worker.heard("ready")
    started = time.perf_counter()
    for worker in running:
        worker.go()
    used = [float(worker.heard("done")[1]) for worker in running]
    took = time.perf_counter() - started
    for worker in running:
        worker.process.communicate()
    return took, max(used)


def compared(name: str, folder: Path, url: str, count: int, rounds: int) -> list[tuple[float, float]]:
    """Of one process and of two: postings a second on so many plans over so many postings, by the clock and by the processor."""
    kind = WORK[name](folder, url)
    kind.fill(count)
    app = application(folder, url, kind.detectors)
    rates = []
    for workers in (1, 2):
        NextNsfw.version = version_of(workers)  # plans are for processes that measure with what they were made for
        plans = [app.rescans.plan("default", kind.spec, actor="bench") for _ in range(rounds)]
        took, used = seconds_of(workers, kind, name)
        for plan in plans:
            progress = app.rescans.find("default", plan.id).progress
            if progress.done != count or progress.failed:
                raise RuntimeError(f"The plan did not go through: {progress}.")
        rates.append((rounds * count / took, rounds * count / used))
    app.database.close()
    return rates


@contextmanager
def new_database() -> Iterator[str]:
    """A database of its own on the PostgreSQL of the tests; '' where there is none."""
    server = os.environ.get("PALISADE_TEST_POSTGRES_URL", "")
    if not server:
        yield ""
        return
    name = f"bench_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()


def figures_of(name: str, rates: list[tuple[float, float]]) -> dict[str, float | None]:
    (one, one_cpu), (two, two_cpu) = rates
    return {
        f"two_workers{name}": round(two / one, 2),
        f"two_workers{name}_cpu": round(two_cpu / one_cpu, 2),
        f"one{name}_per_s": round(one, 1),
        f"two{name}_per_s": round(two, 1),
    }


def two_workers(*, quick: bool) -> dict[str, float | None]:
    """Both figures, with the rates behind them."""
    figures: dict[str, float | None] = {"two_workers": None, "two_workers_head": None}
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{place}/palisade.db"
        figures |= figures_of("", compared("images", Path(place), url, 192 if quick else 640, 1))
    with tempfile.TemporaryDirectory() as place, new_database() as url:
        if url:
            count, rounds = (8_000, 4) if quick else (100_000, 4)
            figures |= figures_of("_head", compared("heads", Path(place), url, count, rounds))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        name, folder, url = given.worker
        work(name, Path(folder), url)
        return
    print(json.dumps(two_workers(quick=given.quick)))


if __name__ == "__main__":
    main()
