"""Cases that wait, as rows for the runs on a full queue."""

import random
from datetime import datetime, timedelta

from moderation.reviews.priority import rank_of
from moderation.tables import DEFAULT_TENANT, ReviewCase, new_id


def waiting(numbers: random.Random, now: datetime, *, queue: str, harm: str, severity: int) -> ReviewCase:
    """A case as if its scan had come over a day, with its place in the order."""
    case = ReviewCase(
        id=new_id("case"),
        tenant_id=DEFAULT_TENANT,
        created_at=now,
        kind="scan",
        queue=queue,
        harm=harm,
        severity=severity,
        tier="reviewer",
        state="open",
        due_at=now + timedelta(hours=numbers.uniform(-2, 72)),
        weight=50,
        reach=numbers.randint(1, 1_000),
        uncertainty=numbers.random(),
        labels=["nsfw"],
        eyes=1,
        disputed=False,
        round=1,
        token=0,
    )
    case.rank = rank_of(case)
    return case
