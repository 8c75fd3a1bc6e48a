"""Figures for leads: what waits and for how long, what was done, how well people and detectors did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from moderation.database import Database
from moderation.errors import InvalidRequestError
from moderation.reviews.agreement import Agreement, DoubleDecision, by_queue, by_reviewer
from moderation.reviews.tallies import Row, Tallies
from moderation.roles import Person
from moderation.tables import utc_now

AGES = (1, 4, 24, 72)
"""Hours that divide open cases by age."""


@dataclass(frozen=True)
class QueueFigures:
    """What waits in a queue now. ages: cases younger than each of `AGES` hours and not than the one before, then all older.

    overdue_then: how many would be overdue in each of `AGES` hours, were nobody to work.
    """

    queue: str
    open: int
    held: int
    overdue: int
    second: int
    escalated: int
    oldest_hours: float
    ages: tuple[int, ...]
    next_due: datetime | None
    overdue_then: tuple[int, ...]


@dataclass(frozen=True)
class Precision:
    """Of the cases that a label led to, the share in which people found the concern to hold."""

    label: str
    cases: int
    held_true: int
    precision: float


@dataclass(frozen=True)
class ReviewerFigures:
    """What one person did in a period. golden: how many known answers they met, golden_right: and gave."""

    reviewer: str
    decisions: int
    median_seconds: float | None
    undone: int
    late: int
    golden: int
    golden_right: int


@dataclass(frozen=True)
class Figures:
    """Everything of a period. per_day: decisions by day (ISO date). overturn_rate: of cases decided, None without any."""

    queues: Sequence[QueueFigures]
    decided: int
    overturned: int
    overturn_rate: float | None
    appeals_decided: int
    appeals_overturned: int
    per_day: Mapping[str, int]
    reviewers: Sequence[ReviewerFigures]
    agreement_by_queue: Mapping[str, Agreement]
    agreement_by_reviewer: Mapping[str, Agreement]
    precision: Sequence[Precision]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self)
        for queue in values["queues"]:
            queue["next_due"] = queue["next_due"].isoformat() if queue["next_due"] else None
        return values


class FiguresService:
    """Counts. All of it is counted from the cases and decisions themselves, by the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def figures(
        self,
        tenant: str,
        since: datetime,
        until: datetime,
        *,
        reader: Person | None = None,
        now: datetime | None = None,
    ) -> Figures:
        """What waits now, and what was done in a period. Raises InvalidRequestError.

        reader: who asks. Known child abuse is in the figures of seniors only, of the queues that they work.
        """
        if since >= until:
            raise InvalidRequestError("The period ends before it begins.", hint="Give an earlier `since`.")
        now = now or utc_now()
        with self.database.read() as session:
            tallies = Tallies(session, tenant, reader)
            cases = tallies.decided(since, until)
            doubles = double_decisions(tallies.doubles(since, until))
            scans, appeals = [_of(cases, kind) for kind in ("scan", "appeal")]
            return Figures(
                queues=[_queue(row, now) for row in tallies.queues(now, AGES)],
                decided=scans[0],
                overturned=scans[1],
                overturn_rate=round(scans[1] / scans[0], 4) if scans[0] else None,
                appeals_decided=appeals[0],
                appeals_overturned=appeals[1],
                per_day=tallies.per_day(since, until),
                reviewers=_reviewers(tallies.reviewers(since, until), tallies.medians(since, until)),
                agreement_by_queue=by_queue(doubles),
                agreement_by_reviewer=by_reviewer(doubles),
                precision=precision(cases),
            )


def _queue(row: Row, now: datetime) -> QueueFigures:
    younger = (0, *(getattr(row, f"young{place}") for place in range(len(AGES))), row.open)
    return QueueFigures(
        queue=row.queue,
        open=row.open,
        held=row.held,
        overdue=row.overdue,
        second=row.second,
        escalated=row.escalated,
        oldest_hours=round((now - row.oldest).total_seconds() / 3600, 2),
        ages=tuple(more - less for less, more in pairwise(younger)),
        next_due=row.next_due,
        overdue_then=tuple(getattr(row, f"late{place}") for place in range(len(AGES))),
    )


def double_decisions(rows: Sequence[Row]) -> list[DoubleDecision]:
    """Every pair of independent decisions, from the counts of equal ones."""
    return [
        double
        for row in rows
        for double in [DoubleDecision(row.queue, (row.one, row.other), (row.first, row.second))] * row.times
    ]


def _of(rows: Sequence[Row], kind: str) -> tuple[int, int]:
    """How many cases of a kind were decided, and how many of them overturned."""
    mine = [row for row in rows if row.kind == kind]
    return sum(row.cases for row in mine), sum(row.cases for row in mine if row.outcome == "overturn")


def precision(rows: Sequence[Row]) -> list[Precision]:
    """By detector's label, how often people found the concern to hold, in cases of scans: any effect but `allow`."""
    cases, held_true = Counter[str](), Counter[str]()
    for row in rows:
        if row.kind == "scan":
            cases.update(dict.fromkeys(row.labels, row.cases))
            held_true.update(dict.fromkeys(row.labels, row.cases if row.effect != "allow" else 0))
    return [
        Precision(label, number, held_true[label], round(held_true[label] / number, 4))
        for label, number in sorted(cases.items())
    ]


def _reviewers(rows: Sequence[Row], medians: Mapping[str, float]) -> list[ReviewerFigures]:
    return [
        ReviewerFigures(
            reviewer=row.reviewer,
            decisions=row.counted,
            median_seconds=medians.get(row.reviewer),
            undone=row.undone,
            late=row.late,
            golden=row.golden,
            golden_right=row.golden_right,
        )
        for row in rows
    ]
