"""Figures for leads: what waits and for how long, what was done, how well people and detectors did."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.database import Database
from moderation.errors import InvalidRequestError
from moderation.reviews.agreement import Agreement, DoubleDecision, by_queue, by_reviewer
from moderation.tables import CaseImage, Decision, ReviewCase, utc_now

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
    """Counts. All of it is read from the cases and decisions themselves."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def figures(self, tenant: str, since: datetime, until: datetime, *, now: datetime | None = None) -> Figures:
        """What waits now, and what was done in a period. Raises InvalidRequestError."""
        if since >= until:
            raise InvalidRequestError("The period ends before it begins.", hint="Give an earlier `since`.")
        with self.database.read() as session:
            waiting = _waiting(session, tenant)
            cases = _decided(session, tenant, since, until)
            made = _made(session, tenant, since, until)
        scans = [case for case in cases if case.kind == "scan"]
        appeals = [case for case in cases if case.kind == "appeal"]
        overturned = sum(case.outcome == "overturn" for case in scans)
        doubles = double_decisions(made)
        return Figures(
            queues=queue_figures(waiting, now or utc_now()),
            decided=len(scans),
            overturned=overturned,
            overturn_rate=round(overturned / len(scans), 4) if scans else None,
            appeals_decided=len(appeals),
            appeals_overturned=sum(case.outcome == "overturn" for case in appeals),
            per_day=_per_day(made),
            reviewers=reviewer_figures(made),
            agreement_by_queue=by_queue(doubles),
            agreement_by_reviewer=by_reviewer(doubles),
            precision=precision(scans),
        )

    def training(self, tenant: str, *, after: str = "", limit: int = 1_000) -> list[dict[str, Any]]:
        """Decisions that may train detectors: of closed cases whose images the host all let be used. By decision, behind one."""
        decisions = (
            sa.select(Decision.id)
            .join(ReviewCase, ReviewCase.id == Decision.case_id)
            .where(
                Decision.tenant_id == tenant,
                Decision.id > after,
                Decision.consent,
                Decision.state == "counted",
                Decision.outcome != "escalate",
                ReviewCase.state == "closed",
                ReviewCase.kind != "golden",
                ReviewCase.harm != "child_abuse",
            )
            .order_by(Decision.id)
            .limit(limit)
        )
        query = (
            sa.select(Decision, ReviewCase, CaseImage)
            .join(ReviewCase, ReviewCase.id == Decision.case_id)
            .join(CaseImage, CaseImage.case_id == ReviewCase.id)
            .where(Decision.id.in_(decisions), CaseImage.consent)
            .order_by(Decision.id, CaseImage.id)
        )
        with self.database.read() as session:
            return [_example(made, case, image) for made, case, image in session.execute(query)]


def _example(made: Decision, case: ReviewCase, image: CaseImage) -> dict[str, Any]:
    return {
        "decision": made.id,
        "case": case.id,
        "sha256": image.sha256,
        "harm": case.harm,
        "labels": case.labels,
        "outcome": made.outcome,
        "effect": made.effect,
        "final": case.effect,
        "consent": True,
    }


def queue_figures(waiting: Sequence[ReviewCase], now: datetime) -> list[QueueFigures]:
    """What waits, by queue."""
    queues: dict[str, list[ReviewCase]] = {}
    for case in waiting:
        queues.setdefault(case.queue, []).append(case)
    return [_queue(name, queues[name], now) for name in sorted(queues)]


def _queue(name: str, cases: Sequence[ReviewCase], now: datetime) -> QueueFigures:
    hours = [(now - case.created_at).total_seconds() / 3600 for case in cases]
    bounds = (0.0, *AGES, float("inf"))
    return QueueFigures(
        queue=name,
        open=len(cases),
        held=sum(case.lease_until is not None and case.lease_until > now for case in cases),
        overdue=sum(case.due_at < now for case in cases),
        second=sum(case.state == "second" for case in cases),
        escalated=sum(case.tier == "senior" for case in cases),
        oldest_hours=round(max(hours), 2),
        ages=tuple(sum(low <= age < high for age in hours) for low, high in pairwise(bounds)),
        next_due=min(case.due_at for case in cases),
        overdue_then=tuple(sum(case.due_at < now + timedelta(hours=hours) for case in cases) for hours in AGES),
    )


def double_decisions(made: Sequence[Decision]) -> list[DoubleDecision]:
    """The first two independent decisions of each round of a case."""
    rounds: dict[tuple[str, int], list[Decision]] = {}
    for decision in made:
        if decision.state == "counted" and decision.outcome != "escalate" and decision.right is None:
            rounds.setdefault((decision.case_id, decision.round), []).append(decision)
    return [
        DoubleDecision(two[0].queue, (two[0].reviewer, two[1].reviewer), (two[0].effect, two[1].effect))
        for two in rounds.values()
        if len(two) > 1
    ]


def precision(cases: Sequence[ReviewCase]) -> list[Precision]:
    """By detector's label, how often people found the concern to hold: any effect but `allow`."""
    found: dict[str, list[bool]] = {}
    for case in cases:
        for label in case.labels:
            found.setdefault(label, []).append(case.effect != "allow")
    return [
        Precision(label, len(held), sum(held), round(sum(held) / len(held), 4)) for label, held in sorted(found.items())
    ]


def reviewer_figures(made: Sequence[Decision]) -> list[ReviewerFigures]:
    """What each person did."""
    people: dict[str, list[Decision]] = {}
    for decision in made:
        people.setdefault(decision.reviewer, []).append(decision)
    return [_reviewer(name, people[name]) for name in sorted(people)]


def _reviewer(name: str, made: Sequence[Decision]) -> ReviewerFigures:
    counted = [decision for decision in made if decision.state == "counted"]
    seconds = sorted(decision.seconds for decision in counted if decision.seconds is not None)
    golden = [decision.right for decision in counted if decision.right is not None]
    return ReviewerFigures(
        reviewer=name,
        decisions=len(counted),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        undone=sum(decision.state == "undone" for decision in made),
        late=sum(decision.state == "late" for decision in made),
        golden=len(golden),
        golden_right=sum(golden),
    )


def _per_day(made: Sequence[Decision]) -> dict[str, int]:
    days: dict[str, int] = {}
    for decision in made:
        if decision.state == "counted":
            day = decision.created_at.date().isoformat()
            days[day] = days.get(day, 0) + 1
    return dict(sorted(days.items()))


def _waiting(session: Session, tenant: str) -> Sequence[ReviewCase]:
    query = sa.select(ReviewCase).where(
        ReviewCase.tenant_id == tenant, ReviewCase.rank.is_not(None), ReviewCase.kind != "golden"
    )
    return session.scalars(query.order_by(ReviewCase.id)).all()


def _decided(session: Session, tenant: str, since: datetime, until: datetime) -> Sequence[ReviewCase]:
    query = sa.select(ReviewCase).where(
        ReviewCase.tenant_id == tenant, ReviewCase.decided_at >= since, ReviewCase.decided_at < until
    )
    return session.scalars(query.order_by(ReviewCase.id)).all()


def _made(session: Session, tenant: str, since: datetime, until: datetime) -> Sequence[Decision]:
    query = sa.select(Decision).where(
        Decision.tenant_id == tenant, Decision.created_at >= since, Decision.created_at < until
    )
    return session.scalars(query.order_by(Decision.id)).all()
