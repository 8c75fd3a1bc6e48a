"""Whether the queue holds: `python -m tests.load.queue [--quick]`. The last line is one JSON object.

Fifty reviewers in threads work ten thousand cases, on SQLite and on PostgreSQL (where `PALISADE_TEST_POSTGRES_URL` names a
server). Some walk away with a case: it comes back when the lease is over. First everybody works as fast as the server lets them; for
the last cases each makes twenty decisions a minute, which is what the time per decision is about. It fails where a case was decided
twice or is lost.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ConflictError
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice, Claim, LateDecisionError, ReviewRules
from moderation.reviews.service import ReviewService
from moderation.roles import Person, Role
from moderation.settings import Settings
from moderation.tables import DEFAULT_TENANT, CaseImage, Decision, ReviewCase, new_id, utc_now
from tests.load.cases import waiting

PACE = 3.0
"""Seconds between two decisions of one reviewer: twenty a minute."""

WALKS_AWAY = 0.01


@dataclass
class Tally:
    """What the reviewers saw. decided: cases by how many threads were told that their decision counted."""

    decided: Counter[str] = field(default_factory=Counter)
    late: int = 0
    abandoned: int = 0
    milliseconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def fill(database: Database, number: int) -> None:
    """Cases of all severities, as if their scans had come over a day."""
    random_numbers, now = random.Random(6), utc_now()
    cases, images = [], []
    for _ in range(number):
        severity = random_numbers.randint(1, 3)
        name = ("general", "explicit", "known")[severity - 1]
        harm = ("general", "adult", "known")[severity - 1]
        case = waiting(random_numbers, now, queue=name, harm=harm, severity=severity)
        cases.append(case)
        images.append(
            CaseImage(
                id=new_id("cimg"),
                tenant_id=DEFAULT_TENANT,
                created_at=now,
                case_id=case.id,
                sha256=uuid.uuid4().hex * 2,
                pdq=b"",
                stage="first",
                action="hold",
                times=1,
                consent=False,
            )
        )
    with database.write() as session:
        session.add_all(cases)
        session.flush()
        session.add_all(images)


def work(database: Database, rules: ReviewRules, name: str, tally: Tally, *, until: int, pace: float) -> None:
    """One reviewer: claims and decides until so many cases are decided."""
    queue, desk = ReviewService(database, rules), DecisionService(database, rules)
    person, random_numbers = Person(name, DEFAULT_TENANT, name, frozenset({Role.REVIEWER})), random.Random(name)
    time.sleep(random_numbers.uniform(0, pace))
    while len(tally.decided) < until:
        started = time.perf_counter()
        claim = claimed(queue, person)
        if claim is None:
            time.sleep(0.05)
            continue
        if random_numbers.random() < WALKS_AWAY:
            tally.abandoned += 1
            continue
        spent = time.perf_counter() - started
        time.sleep(pace)
        started = time.perf_counter()
        choice = Choice(*random_numbers.choice([("uphold", "1.1", ""), ("overturn", "", "Harmless.")]))
        try:
            desk.decide(person, claim.case.id, claim.case.token, choice)
        except LateDecisionError:
            tally.late += 1
            continue
        spent += time.perf_counter() - started
        with tally.lock:
            tally.decided[claim.case.id] += 1
            tally.milliseconds.append(spent * 1000)


def claimed(queue: ReviewService, person: Person) -> Claim | None:
    """The next case; None where there is none, or where the person walked away from too many to be given another."""
    try:
        return queue.claim(person)
    except ConflictError:
        return None


def run(database: Database, rules: ReviewRules, tally: Tally, *, reviewers: int, until: int, pace: float) -> float:
    """Let reviewers work until so many cases are decided; gives the seconds that it took."""
    tally.milliseconds = []
    started = time.perf_counter()
    errors: list[BaseException] = []

    def safely(name: str) -> None:
        try:
            work(database, rules, name, tally, until=until, pace=pace)
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=safely, args=(f"reviewer-{n}",), daemon=True) for n in range(reviewers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=2)
            print(f"{len(tally.decided):,} of {until:,} cases", file=sys.stderr, flush=True)
            if errors:
                raise errors[0]
    return time.perf_counter() - started


def measure(database: Database, *, cases: int, reviewers: int, paced: int) -> dict[str, Any]:
    """Work all cases; gives what it took. Raises SystemExit where one was decided twice, or is lost."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    rules = replace(ReviewRules.of(settings), sample=0.0, lease=timedelta(seconds=5))
    database.migrate()
    fill(database, cases)
    tally = Tally()
    seconds = run(database, rules, tally, reviewers=reviewers, until=cases - paced, pace=0)
    busy = list(tally.milliseconds)
    run(database, rules, tally, reviewers=reviewers, until=len(tally.decided) + paced // 2, pace=PACE)
    calm = list(tally.milliseconds)
    run(database, rules, tally, reviewers=reviewers, until=cases, pace=0)
    check(database, tally, cases)
    return {
        "cases": cases,
        "reviewers": reviewers,
        "late": tally.late,
        "abandoned": tally.abandoned,
        "twice": 0,
        "lost": 0,
        "decisions_per_second": round(len(busy) / seconds, 1),
        "saturated_ms": percentiles(busy),
        "paced_ms": percentiles(calm),
    }


def check(database: Database, tally: Tally, cases: int) -> None:
    """Every case was decided once: as the reviewers were told, and as the database has it."""
    with database.read() as session:
        counted = Counter(session.scalars(sa.select(Decision.case_id).where(Decision.state == "counted")))
        open_still = session.scalar(sa.select(sa.func.count()).where(ReviewCase.rank.is_not(None)))
    twice = [case for seen in (tally.decided, counted) for case, times in seen.items() if times > 1]
    if twice or open_still or len(counted) != cases or counted != tally.decided:
        sys.exit(f"{len(twice)} cases were decided twice, {open_still} are open, {len(counted)} of {cases} decided")


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """Of claiming and deciding one case together."""
    return {name: round(float(np.percentile(milliseconds, at)), 1) for name, at in (("median", 50), ("p95", 95))}


@contextmanager
def databases() -> Iterator[dict[str, Database]]:
    """A new database on SQLite, and on PostgreSQL where a server is named."""
    server = os.environ.get("PALISADE_TEST_POSTGRES_URL")
    name = f"load_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        made = {"sqlite": Database(f"sqlite:///{folder}/palisade.db")}
        if server:
            admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
            with admin.connect() as connection:
                connection.execute(sa.text(f"create database {name}"))
            url = sa.make_url(server).set(database=name).render_as_string(hide_password=False)
            made["postgresql"] = Database(url)
        try:
            yield made
        finally:
            for database in made.values():
                database.close()
            if server:
                with admin.connect() as connection:
                    connection.execute(sa.text(f"drop database {name} with (force)"))
                admin.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--reviewers", type=int, default=50)
    parser.add_argument("--paced", type=int, default=1_000, help="cases that are left for the second part")
    parser.add_argument("--quick", action="store_true", help="six hundred cases, in less than 40 seconds")
    arguments = parser.parse_args()
    cases, paced = (600, 100) if arguments.quick else (arguments.cases, arguments.paced)
    figures = {}
    with databases() as made:
        for name, database in made.items():
            figures[name] = measure(database, cases=cases, reviewers=arguments.reviewers, paced=paced)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
