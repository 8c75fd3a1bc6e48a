"""What joining near copies costs a scan: `python -m tests.bench.near_duplicates [--quick]`. The last line is one JSON object.

Cases that wait, each with a picture's hash; then scans' intakes are timed, of pictures that are near to none and of near copies, on
SQLite. `first_ms` is the first of a process, which reads all hashes once; `others_ms` the middle of those after it.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from typing import Any

import sqlalchemy as sa

from moderation.database import Database
from moderation.reviews.nearby import Nearby
from moderation.reviews.repository import ReviewRepository
from moderation.tables import DEFAULT_TENANT, CaseImage, ReviewCase, utc_now
from tests.bench import figures

ROUNDS = 100


def fill(database: Database, number: int) -> list[bytes]:
    """So many cases that wait; gives their hashes."""
    figures.fill(database, number, now=utc_now())
    numbers = random.Random(7)
    hashes = [numbers.randbytes(32) for _ in range(number)]
    with database.write() as session:
        session.execute(sa.update(ReviewCase).values(rank=0.5, state="open", kind="scan"))
        ids = session.scalars(sa.select(CaseImage.id).order_by(CaseImage.id)).all()
        rows = [{"id": one, "pdq": pdq} for one, pdq in zip(ids, hashes, strict=True)]
        session.execute(sa.update(CaseImage), rows)
    return hashes


def ask(nearby: Nearby, database: Database, orientations: bytes) -> float:
    """Milliseconds of one question, within a transaction that holds the lock, as a scan's."""
    with database.write() as session:
        repository = ReviewRepository(session, DEFAULT_TENANT)
        last = repository.lock_tenant()
        started = time.perf_counter()
        nearby.find(repository, last, orientations)
        return (time.perf_counter() - started) * 1_000


def measure(number: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/bench.db")
        database.migrate()
        hashes, nearby, numbers = fill(database, number), Nearby(), random.Random(8)
        first = ask(nearby, database, numbers.randbytes(256))
        others = [ask(nearby, database, numbers.randbytes(256)) for _ in range(ROUNDS)]
        near = [ask(nearby, database, numbers.choice(hashes) + numbers.randbytes(224)) for _ in range(ROUNDS)]
        database.close()
    return {
        "first_ms": round(first, 1),
        "others_ms": round(statistics.median(others), 2),
        "others_p95_ms": round(statistics.quantiles(others, n=20)[-1], 2),
        "near_copies_ms": round(statistics.median(near), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Ten thousand cases only.")
    sizes = (10_000,) if parser.parse_args().quick else (10_000, 100_000)
    json.dump({str(size): measure(size) for size in sizes}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
