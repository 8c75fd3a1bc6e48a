"""Import, re-scan by a new head, re-scan by a new policy, while workers are killed: `python -m tests.load.rescan [--quick]`.

Starts its own PostgreSQL and Redis, draws pictures of 64 px, imports them through several `palisade import` processes, and
works two plans with `palisade worker`, `palisade beat` and `palisade rescans run`. Processes are killed (-9) at random, from a
seed, and replaced. Then it looks in the database, and at what a host received, whether everything came to pass once.

Substituted: CLIP's image tower, by a small graph with the same inputs and outputs (`tests/faults/hosted.py`). The head is a real
one that is trained on that, and the policy reads nothing else. The last line is one JSON object:

import          images, seconds, per_s, kills
head, policy    judged, changed, seconds by the clock, per_s of one worker (pages' own time), kills
judged_once     whether every posting has exactly the scans and the verdict that it must have; wrong: those that have not; borderline: of them those
                that lie on a threshold, where the rounding of stored findings decides, and which are not held against the run
events          told: events in the database; received: by the host, each once; repeated: deliveries of one that it had already

With `--folder` an interrupted import is taken up where it was.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import sqlalchemy as sa

from moderation.application import Application
from moderation.rescans.records import PlanSpec
from moderation.tables import Event, Scan, StoredImage
from tests.faults import hosted
from tests.faults.hosted import NEW, OLD, Hosted
from tests.faults.installation import SECRET
from tests.faults.services import Postgres, Redis, kill_group, service_folder, until
from tests.hosts import running_host

ROOT = Path(__file__).parents[2]


class Crew:
    """Processes of Palisade that are killed and replaced. commands: what each of them runs."""

    def __init__(self, hosted: Hosted, commands: Sequence[Sequence[str]], chance: random.Random) -> None:
        self.hosted, self.commands, self.chance = hosted, commands, chance
        self.running: list[subprocess.Popen[bytes]] = []
        self.kills = Counter[str]()

    def __enter__(self) -> "Crew":
        self.running = [self._start(command) for command in self.commands]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.running:
            kill_group(process)

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self.hosted.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "moderation", *command],
                cwd=ROOT,
                env={**os.environ, **self.hosted.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_one(self) -> None:
        """kill -9 of one that runs, and another in its place."""
        alive = [place for place, process in enumerate(self.running) if process.poll() is None]
        if alive:
            place = self.chance.choice(alive)
            kill_group(self.running[place])
            self.kills[self.commands[place][0]] += 1
            self.running[place] = self._start(self.commands[place])

    def replace_the_fallen(self) -> None:
        """Those that ended by themselves in an error are started again, as a service manager does."""
        for place, process in enumerate(self.running):
            if process.poll():
                self.running[place] = self._start(self.commands[place])

    @property
    def has_ended(self) -> bool:
        return all(process.poll() == 0 for process in self.running)


def kill_now_and_then(crew: Crew, is_over: Any, *, kills: int, every: float) -> None:
    """Until it is over: kill a process each so many seconds, more or less, so often at most."""
    next_kill = time.monotonic() + crew.chance.uniform(0.2, every)
    while not is_over():
        time.sleep(0.05)
        crew.replace_the_fallen()
        if time.monotonic() >= next_kill and crew.kills.total() < kills:
            crew.kill_one()
            next_kill = time.monotonic() + crew.chance.uniform(0.5, 2) * every


def import_all(
    run: Hosted, chance: random.Random, *, processes: int, kills: int, every: float, most: float
) -> dict[str, Any]:
    """Through so many processes, each with a manifest of its share. most: seconds after which it is broken off."""
    size = -(-run.count // processes)
    commands = []
    for part in range(processes):
        manifest = run.folder / f"part-{part}.csv"
        first = part * size
        hosted.write_manifest(manifest, run.folder / "pictures", first, min(first + size, run.count))
        commands.append(("import", str(manifest)))
    app = run.application()
    before, started = stored(app), time.monotonic()
    until_first = started + 30
    with Crew(run, commands, chance) as crew:
        until(lambda: stored(app) > before or crew.has_ended or time.monotonic() > until_first)
        kill_now_and_then(crew, lambda: crew.has_ended or time.monotonic() - started > most, kills=kills, every=every)
    seconds, count = time.monotonic() - started, stored(app)
    app.database.close()
    per_s = round((count - before) / seconds, 1)
    return {"images": count, "seconds": round(seconds, 1), "per_s": per_s, "kills": crew.kills.total()}


def stored(app: Application) -> int:
    """How many images are stored."""
    with app.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(StoredImage)) or 0


CREW = (
    ("worker", "--queues", "interactive,bulk,gpu"),
    ("beat",),
    ("rescans", "run", "--forever"),
    ("rescans", "run", "--forever"),
)


def rescan(run: Hosted, spec: PlanSpec, chance: random.Random, *, kills: int, every: float) -> dict[str, Any]:
    """A plan from its making to the last event delivered."""
    app = run.application()
    plan = app.rescans.plan("default", spec, actor="load")
    with Crew(run, CREW, chance) as crew:
        until(lambda: has_begun(app, plan.id), 600, "the first page")
        started = time.monotonic()
        kill_now_and_then(
            crew,
            lambda: app.rescans.find("default", plan.id).plan.state != "running",
            kills=kills,
            every=every,
        )
        seconds = time.monotonic() - started
        until(lambda: undelivered(app) == 0, 600, "the delivery of events")
    view = app.rescans.find("default", plan.id)
    app.database.close()
    progress = view.progress
    return {
        "state": view.plan.state,
        "judged": progress.done,
        "changed": progress.changed,
        "failed": progress.failed,
        "seconds": round(seconds, 1),
        "per_s": progress.per_s,
        "kills": dict(crew.kills),
    }


def has_begun(app: Application, plan_id: str) -> bool:
    progress = app.rescans.find("default", plan_id).progress
    return progress.workers > 0 or progress.done > 0


def undelivered(app: Application) -> int:
    with app.database.read() as session:
        query = sa.select(sa.func.count()).select_from(Event).where(Event.delivered_at.is_(None))
        return session.scalar(query) or 0


def scored(run: Hosted) -> dict[str, float]:
    """The `fpr` that the head of now gives each image, from its stored embedding."""
    app, head, found = run.application(), run.head(), {}
    query = sa.select(StoredImage.id, StoredImage.embedding)
    with app.database.read() as session:
        for rows in session.execute(query.execution_options(yield_per=10_000)).partitions():
            vectors = np.frombuffer(b"".join(row[1] for row in rows), np.float16).reshape(len(rows), -1)
            found |= dict(zip((row[0] for row in rows), head.fprs(head.scores(vectors)).tolist(), strict=True))
    app.database.close()
    return found


def action(fpr: float, thresholds: dict[str, float]) -> str:
    """What the policy does: reckoned apart from the policies' own engine."""
    return next((name for name in ("hold", "restrict") if fpr <= thresholds[name]), "allow")


def must_be(first: float, second: float) -> list[str]:
    """The actions of an image's scans, in order. first, second: what the two heads make of it.

    A plan writes only what it judged otherwise; the policy's plan judges by the new head.
    """
    actions = [action(first, OLD), action(second, OLD), action(second, NEW)]
    return [actions[0], *(now for before, now in itertools.pairwise(actions) if now != before)]


def is_borderline(*fprs: float) -> bool:
    """Whether one is so near to a threshold that the rounding of stored findings may decide."""
    edges = {*OLD.values(), *NEW.values()}
    return any(abs(fpr - edge) < edge * 1e-3 for fpr in fprs for edge in edges)


def judged_wrongly(run: Hosted, first: dict[str, float], second: dict[str, float]) -> Counter[str]:
    """Images by what is wrong with their scans. first, second: what the two heads make of them."""
    app, scans = run.application(), {}
    with app.database.read() as session:
        rows = session.execute(sa.select(Scan.image_id, Scan.action, Scan.external_id).order_by(Scan.id))
        for image, verdict, external_id in rows:
            scans.setdefault(image, []).append((verdict, external_id))
    app.database.close()
    wrong = Counter[str](missed=run.count - len({found[0][1] for found in scans.values()}))
    for image, found in scans.items():
        wanted = must_be(first[image], second[image])
        if len({external_id for _, external_id in found}) != 1:
            wrong["several postings"] += 1
        elif [verdict for verdict, _ in found] != wanted:
            kind = "borderline" if is_borderline(first[image], second[image]) else "too many"
            wrong[kind if len(found) > len(wanted) or kind == "borderline" else "too few or others"] += 1
    return +wrong


def told(run: Hosted) -> dict[str, Any]:
    """Of the events: whether each change was told once, and what the host received."""
    app = run.application()
    with app.database.read() as session:
        events = session.execute(sa.select(Event.id, Event.kind, Event.payload)).all()
        scans = set(session.scalars(sa.select(Scan.id).where(Scan.reused)))
    app.database.close()
    named = Counter(
        change["scan"] for _, kind, data in events if kind == "verdict.changed" for change in data["changes"]
    )
    received, ids = Counter(run.host.ids), {event[0] for event in events}
    return {
        "told": len(events),
        "received": len(received.keys() & ids),
        "repeated": received.total() - len(received),
        "unknown": len(received.keys() - ids),
        "changes": named.total(),
        "changes_told_once": set(named) == scans and set(named.values()) <= {1},
        "kinds": dict(Counter(kind for _, kind, _ in events)),
    }


def measure(run: Hosted, seed: int, *, kills: int, every: float, rate: float, import_seconds: float) -> dict[str, Any]:
    """The whole of it. rate: most postings a second of a plan, so that few of them take long enough to be killed over."""
    chance = random.Random(seed)
    say("drawing", images=run.count)
    run.prepare()
    figures: dict[str, Any] = {
        "import": import_all(run, chance, processes=2, kills=kills, every=every * 3, most=import_seconds)
    }
    run.count = figures["import"]["images"]
    say("imported", **figures["import"])
    first = scored(run)
    run.train(2)
    spec = PlanSpec("head", detectors=(hosted.LABEL,), rate=rate)
    figures["head"] = rescan(run, spec, chance, kills=kills, every=every)
    say("re-scanned by the new head", **figures["head"])
    hosted.write_policy(run.folder / "policies", version=2, **NEW)
    figures["policy"] = rescan(run, PlanSpec("policy", rate=rate), chance, kills=kills, every=every)
    say("re-scanned by the new policy", **figures["policy"])
    wrong = judged_wrongly(run, first, scored(run))
    figures |= {"judged_once": not wrong.keys() - {"borderline"}, "wrong": dict(wrong), "events": told(run)}
    return figures


def say(what: str, **figures: Any) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}: {json.dumps(figures)}", file=sys.stderr, flush=True)


def is_whole(figures: dict[str, Any], count: int) -> bool:
    """Whether everything came to pass, once."""
    events = figures["events"]
    plans = [(figures[name]["state"], figures[name]["judged"]) for name in ("head", "policy")]
    changes = sum(figures[name]["changed"] for name in ("head", "policy"))
    return (
        figures["judged_once"]
        and plans == [("done", count)] * 2
        and events["changes_told_once"]
        and events["changes"] == changes
        and (events["received"], events["unknown"]) == (events["told"], 0)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, about 40 s on a quiet machine")
    parser.add_argument("--images", type=int, default=0, help="how many images are hosted")
    parser.add_argument("--kills", type=int, default=6, help="processes that are killed in each part, at most")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two of them, more or less")
    parser.add_argument("--import-seconds", type=float, default=0, help="break the import off then; 0: never")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed when")
    parser.add_argument("--folder", type=Path, help="where everything is, and stays; default: a temporary folder")
    given = parser.parse_args(arguments)
    count = given.images or (300 if given.quick else 100_000)
    with ExitStack() as stack:
        folder = given.folder or stack.enter_context(service_folder())
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        redis = stack.enter_context(Redis(folder / "redis"))
        host = stack.enter_context(running_host(SECRET))
        run = Hosted(folder, count, database=postgres.url, broker=redis.url, host=host, lease=3 if given.quick else 10)
        kills, every = (1, 0.5) if given.quick else (given.kills, given.every)
        rate = count / 8 if given.quick else 0.0
        figures = measure(
            run, given.seed, kills=kills, every=every, rate=rate, import_seconds=given.import_seconds or float("inf")
        )
    figures["whole"] = is_whole(figures, run.count)
    print(json.dumps(figures))
    raise SystemExit(0 if figures["whole"] else 1)


if __name__ == "__main__":
    main()
