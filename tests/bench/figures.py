"""How long leads wait for their figures: `python -m tests.bench.figures [--quick]`. The last line is one JSON object.

Ten thousand cases that wait, ten thousand that were decided, twelve thousand decisions, on SQLite and on PostgreSQL (where
`PALISADE_TEST_POSTGRES_URL` names a server). Beside it, what it takes to read all of those rows, as the figures once did.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from moderation.database import Database
from moderation.reviews.figures import FiguresService
from moderation.tables import DEFAULT_TENANT, CaseImage, Decision, ReviewCase, new_id, utc_now

QUEUES = (("general", "general", 1), ("explicit", "adult", 2), ("known", "known", 3), ("likeness", "likeness", 4))
LABELS = (["nsfw"], ["nsfw", "synthetic"], ["known"], ["c2pa", "software", "synthetic"], ["likeness"])
PEOPLE = tuple(f"acct_{number:02}" for number in range(20))
OUTCOMES = ("uphold", "overturn", "restrict", "block", "escalate")
EFFECTS = {"uphold": "block", "overturn": "allow", "restrict": "restrict", "block": "block", "escalate": ""}
STATES = ("counted",) * 9 + ("undone", "late")


def fill(database: Database, number: int, *, now: datetime, seed: int = 6) -> None:
    """So many cases of the past month, half of them decided, some by two people; in the order of their making."""
    numbers = random.Random(seed)
    cases: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    for place in range(number):
        case = _case(numbers, now, decided=place % 2 == 0)
        cases.append(case)
        if place % 2 == 0:
            decisions += _decisions(numbers, case)
    images = [_image(case) for case in cases]
    with database.write() as session:
        for table, rows in ((ReviewCase, cases), (CaseImage, images), (Decision, decisions)):
            session.execute(sa.insert(table), rows)


def _case(numbers: random.Random, now: datetime, *, decided: bool) -> dict[str, Any]:
    queue, harm, severity = numbers.choice(QUEUES)
    made = now - timedelta(minutes=numbers.uniform(1, 30 * 24 * 60))
    outcome = numbers.choice(OUTCOMES[:-1])
    kind = numbers.choices(("scan", "appeal", "golden"), (18, 1, 1))[0]
    return {
        "id": new_id("case"),
        "tenant_id": DEFAULT_TENANT,
        "created_at": made,
        "kind": kind,
        "queue": queue,
        "harm": harm,
        "severity": severity,
        "tier": numbers.choice(("reviewer", "reviewer", "senior")),
        "state": "closed" if decided else numbers.choice(("open", "open", "second")),
        "due_at": now + timedelta(hours=numbers.uniform(-48, 96)),
        "rank": None if decided else numbers.random(),
        "weight": 50,
        "reach": 1,
        "uncertainty": 0.5,
        "labels": numbers.choice(LABELS),
        "lease_until": now + timedelta(minutes=numbers.uniform(-9, 9)),
        "outcome": outcome if decided else None,
        "effect": EFFECTS[outcome] if decided else None,
        "decided_at": made + timedelta(minutes=30) if decided else None,
        "answer": "uphold" if kind == "golden" else None,
    }


def _decisions(numbers: random.Random, case: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": new_id("dec"),
            "tenant_id": DEFAULT_TENANT,
            "created_at": case["created_at"] + timedelta(minutes=10 + turn),
            "case_id": case["id"],
            "reviewer": reviewer,
            "outcome": (outcome := numbers.choice(OUTCOMES)),
            "effect": EFFECTS[outcome],
            "clause": "3.1",
            "reason": "",
            "state": numbers.choice(STATES),
            "token": 1,
            "round": 1,
            "queue": case["queue"],
            "seconds": round(numbers.uniform(1, 90), 2),
            "before": {},
            "right": outcome == case["answer"] if case["answer"] else None,
            "consent": False,
        }
        for turn, reviewer in enumerate(numbers.sample(PEOPLE, numbers.choices((1, 2), (4, 1))[0]))
    ]


def _image(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id("cimg"),
        "tenant_id": DEFAULT_TENANT,
        "created_at": case["created_at"],
        "case_id": case["id"],
        "sha256": case["id"].encode().hex()[:64].ljust(64, "0"),
        "pdq": b"",
        "stage": "first",
        "action": "hold",
    }


def measure(database: Database, number: int, rounds: int) -> dict[str, float]:
    """Milliseconds, the middle of the rounds: of the figures, by the clock and of this process's processor time (which a busy
    machine does not stretch; on PostgreSQL the server's is not in it), and of reading every row.
    """
    database.migrate()
    now = utc_now()
    fill(database, number, now=now)
    service, since = FiguresService(database), now - timedelta(days=40)
    until = now + timedelta(days=1)
    figures = partial(service.figures, DEFAULT_TENANT, since, until, now=now)
    return {
        "figures_ms": _middle(figures, rounds, time.perf_counter),
        "figures_cpu_ms": _middle(figures, rounds, time.process_time),
        "reading_every_row_ms": _middle(lambda: _read(database), rounds, time.perf_counter),
    }


def _middle(act: Callable[[], Any], rounds: int, clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(rounds):
        started = clock()
        act()
        taken.append((clock() - started) * 1_000)
    return round(statistics.median(taken), 1)


def _read(database: Database) -> None:
    with database.read() as session:
        session.scalars(sa.select(ReviewCase)).all()
        session.scalars(sa.select(Decision)).all()


@contextmanager
def databases() -> Iterator[dict[str, Database]]:
    """Empty ones, thrown away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        made = {"sqlite": Database(f"sqlite:///{folder}/bench.db")}
        server = os.environ.get("PALISADE_TEST_POSTGRES_URL")
        if not server:
            yield made
            return
        name = f"bench_{uuid.uuid4().hex}"
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"create database {name}"))
        made["postgresql"] = Database(sa.make_url(server).set(database=name).render_as_string(hide_password=False))
        yield made
        for database in made.values():
            database.close()
        with engine.connect() as connection:
            connection.execute(sa.text(f"drop database {name} with (force)"))
        engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A tenth of the cases.")
    number = 2_000 if parser.parse_args().quick else 20_000
    result: dict[str, Any] = {"cases": number}
    with databases() as made:
        for name, database in made.items():
            result[name] = measure(database, number, rounds=7)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
