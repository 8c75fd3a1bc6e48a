"""Speed of re-scans: `python -m tests.bench.rescan [--quick | --large [MOST]]`. The last line is one JSON object.

heads_per_s       embeddings that one core scores in a second: what a new head costs in model time
end_to_end_per_s  postings a second that a head plan judges on SQLite, everything included: read, scored, judged, written
policy_per_s      the same of a policy plan, by the shipped policy; `policy_newer_head_per_s`: where every stored finding of one head is
                  an older model's, so that each embedding is scored before
bank_s            seconds to compare 1,000 new entries with 1,000,000 stored hashes (upright PDQ); `bank_oriented_s`: with all eight
                  orientations of each, as lists are asked; `bank_per_s`: postings a second of a bank plan on SQLite, everything included
two_workers       postings a second of two worker processes over those of one, on images (`tests/bench/rescan_workers.py`), and the same
                  of `two_workers_head` on PostgreSQL, null where PALISADE_TEST_POSTGRES_URL names no server
linear            seconds for an image at the full count over those at a quarter of it, on the head plan
peak_rss_mb       highest resident memory of this process

`--large` looks at growth alone: 10,000, 100,000 and 1,000,000 images (up to MOST), each in a process of its own on the same database;
rates of head and policy plans, and the highest memory of the process that ran them, which is to be the same whatever the number.

`…_cpu_per_s` are the same by this process's own time on the processor: what they would be on a core that nobody else uses.
Rows are made: real shapes and sizes, drawn at random; a fiftieth of the verdicts change under the new head, a hundredth under
the policy. The database is SQLite in a temporary folder.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detectors.base import Finding
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.policy.library import shipped_folder
from moderation.rescans.joining import within
from moderation.rescans.records import PlanSpec
from moderation.rescans.refresh import heads_of
from moderation.scanner import Scanner
from moderation.settings import Settings, settings
from tests.bench.rescan_workers import two_workers
from tests.moderation.rescans.heads import CartoonHead, embeddings
from tests.moderation.rescans.stored import findings, store

ROOT = Path(__file__).parents[2]
BATCH = 2_000

RULE = """  - name: cartoon
    when: cartoon.fpr <= 0.001
    action: restrict
    reason: It is a cartoon.

examples:
  - name: a cartoon is shown behind a warning
    findings: {cartoon: {fpr: 0.0001}}
    action: restrict
"""


class NewerHead(CartoonHead):
    """The same by another model."""

    @property
    def model(self) -> str:
        return "cartoon@newer"


def application(folder: Path, *, stricter: bool = False, head: type[CartoonHead] = CartoonHead) -> Application:
    """The shipped policy with a rule for a head; stricter: from another threshold of `nsfw` on."""
    text = (shipped_folder() / "mainstream.yaml").read_text().split("examples:\n")[0] + RULE
    text = text.replace("name: mainstream", "name: bench", 1)
    if stricter:
        text = text.replace("nsfw.fpr <= 0.003", "nsfw.fpr <= 0.013").replace("version: 2", "version: 3")
    policies = folder / ("stricter" if stricter else "policies")
    policies.mkdir(exist_ok=True)
    (policies / "bench.yaml").write_text(text)
    values = {"data_dir": folder, "models_dir": settings().models, "policy": "bench", "policies_dir": policies}
    made = Application(Settings(_env_file=None, chores_seconds=0, **values))
    made.__dict__["scanner"] = Scanner(made.runtime, detectors=(*DETECTORS, head))
    return made


def fill(app: Application, first: int, count: int) -> None:
    """Images up to a number, as hosts have them: most of them harmless, with an older head's score of each."""
    model, policy = app.runtime.identity("clip_vit_b16"), app.policies.get("")
    random = np.random.default_rng(first)
    for start in range(first, count, BATCH):
        size = min(BATCH, count - start)
        images = []
        for number in range(start, start + size):
            found = findings(number, nsfw=float(random.uniform(0.003, 1)), synthetic=float(random.uniform(0.001, 1)))
            images.append([*found, Finding("cartoon", "cartoon", score=0.2, fpr=0.5, model="cartoon@test")])
        vectors = embeddings(size, positive=random.random(size) < 0.02, seed=start)
        contexts = [{"external_id": f"pic-{number}"} for number in range(start, start + size)]
        store(app.database, policy, images, embeddings=vectors, embedding_model=model, contexts=contexts)


def planned(app: Application, spec: PlanSpec) -> tuple[dict[str, float], int]:
    """Postings a second of a plan, by the clock (`per_s`) and by the processor, and how many changed: in this process, which has
    read its policies and loaded its heads, as a server has."""
    app.rescans.paths.policies()
    heads_of(app.scanner)
    started, used = time.perf_counter(), time.process_time()
    plan = app.rescans.plan("default", spec, actor="bench")
    while app.rescans.advance("bench", plan_id=plan.id):
        pass
    took, used = time.perf_counter() - started, time.process_time() - used
    view = app.rescans.find("default", plan.id)
    if view.plan.state != "done" or view.progress.failed or view.progress.left:
        raise RuntimeError(f"The plan did not go through: {view.as_dict()}.")
    count = view.progress.done
    return {"per_s": round(count / took), "cpu_per_s": round(count / used)}, view.progress.changed


def named(name: str, rates: dict[str, float]) -> dict[str, float]:
    return {f"{name}_{key}": value for key, value in rates.items()}


def model_time(runtime: Runtime, count: int) -> float:
    """Embeddings a second of one head."""
    head, vectors = CartoonHead(runtime), embeddings(20_000)
    started = time.perf_counter()
    for _ in range(max(1, count // len(vectors))):
        head.fprs(head.scores(vectors))
    return max(1, count // len(vectors)) * len(vectors) / (time.perf_counter() - started)


def bank_time(hashes: int, entries: int, orientations: int) -> tuple[float, float]:
    """Seconds to find which of so many stored images new entries may match, by the clock and by the processor."""
    random = np.random.default_rng(11)
    new = random.integers(0, 256, (entries, 32), dtype=np.uint8)
    page, took, used = 20_000 * orientations, 0.0, 0.0
    for _ in range(0, hashes * orientations, page):
        stored = random.integers(0, 256, (page, 32), dtype=np.uint8)
        started, before = time.perf_counter(), time.process_time()
        within(stored, new, 31)
        took, used = took + time.perf_counter() - started, used + time.process_time() - before
    return took, used


def bank_plan(app: Application) -> dict[str, float]:
    """Rates of a bank plan with 1,000 new entries."""
    random = np.random.default_rng(12)
    app.banks.create("default", BankSpec("bench"), actor="bench")
    new = [NewEntry(Signal("pdq", random.bytes(32))) for _ in range(1_000)]
    app.banks.add("default", "bench", new, actor="bench")
    return planned(app, PlanSpec("banks"))[0]


def measure(folder: Path, count: int, *, quick: bool) -> dict[str, float | None]:
    app, head = application(folder), PlanSpec("head", detectors=("cartoon",))
    app.database.migrate()
    app.scanner.detector("cartoon")
    _ = app.rescans
    fill(app, 0, count // 4)
    quarter, _ = planned(app, head)
    fill(app, count // 4, count)
    hashes = 100_000 if quick else 1_000_000
    figures: dict[str, float | None] = {"images": count, "heads_per_s": round(model_time(app.runtime, 400_000))}
    rates, figures["head_changed"] = planned(app, head)
    figures |= named("end_to_end", rates)
    figures["linear"] = round(quarter["cpu_per_s"] / rates["cpu_per_s"], 2)
    figures |= named("end_to_end_unchanged", planned(app, head)[0])
    figures |= named("bank", bank_plan(app))
    app.database.close()
    stricter = application(folder, stricter=True)
    rates, figures["policy_changed"] = planned(stricter, PlanSpec("policy"))
    figures |= named("policy", rates)
    stricter.database.close()
    newer = application(folder, stricter=True, head=NewerHead)
    figures |= named("policy_newer_head", planned(newer, PlanSpec("policy"))[0])
    newer.database.close()
    figures |= two_workers(quick=quick)
    for name, count_of, orientations in (("bank", hashes, 1), ("bank_oriented", hashes // 4, 8)):
        took, used = (seconds * 1_000_000 / count_of for seconds in bank_time(count_of, 1_000, orientations))
        figures |= {f"{name}_s": round(took, 2), f"{name}_cpu_s": round(used, 2)}
    figures["peak_rss_mb"] = peak()
    return figures


SIZES = (10_000, 100_000, 1_000_000)


def grown(folder: Path, count: int) -> dict[str, float]:
    """Rates and highest memory of one head and one policy plan over so many images; run in a process of its own."""
    figures: dict[str, float] = {"images": count}
    for name, stricter, spec in (("head", False, PlanSpec("head", detectors=("cartoon",))), ("policy", True, POLICY)):
        app = application(folder, stricter=stricter)
        app.scanner.detector("cartoon")
        _ = app.rescans
        rates, figures[f"{name}_changed"] = planned(app, spec)
        figures |= named(name, rates)
        app.database.close()
    figures["peak_rss_mb"] = peak()
    return figures


POLICY = PlanSpec("policy")


def peak() -> int:
    """Highest resident memory of this process, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def large(folder: Path, most: int) -> dict[str, object]:
    """Figures of each size, and how they hold: rates of the largest over those of the smallest, and memory likewise."""
    app, sizes, before = application(folder), [size for size in SIZES if size <= most], 0
    app.database.migrate()
    rows: list[dict[str, float]] = []
    for size in sizes:
        fill(app, before, size)
        before = size
        command = [sys.executable, "-m", "tests.bench.rescan", "--grown", str(size), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    app.database.close()
    first, last = rows[0], rows[-1]
    linear = {
        f"{name}_linear": round(last[f"{name}_cpu_per_s"] / first[f"{name}_cpu_per_s"], 2)
        for name in ("head", "policy")
    }
    return {"sizes": rows, **linear, "memory": round(last["peak_rss_mb"] / first["peak_rss_mb"], 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, at most 40 s")
    parser.add_argument("--large", nargs="?", type=int, const=SIZES[-1], help="growth: up to so many images")
    parser.add_argument("--grown", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=0, help="how many images are stored")
    given = parser.parse_args(arguments)
    if given.grown:
        print(json.dumps(grown(Path(given.grown[1]), int(given.grown[0]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        if given.large:
            print(json.dumps(large(Path(folder), given.large)))
            return
        count = given.images or (8_000 if given.quick else 100_000)
        print(json.dumps(measure(Path(folder), count, quick=given.quick)))


if __name__ == "__main__":
    main()
