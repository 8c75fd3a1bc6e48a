"""Figures are counted by the database: they say what counting every row in Python says, on both databases."""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.reviews.agreement import DoubleDecision, by_queue, by_reviewer
from moderation.reviews.figures import AGES, Figures, FiguresService
from moderation.roles import Person, Role
from moderation.tables import DEFAULT_TENANT, Decision, ReviewCase, utc_now
from tests.bench.figures import fill
from tests.moderation.reviews.conftest import LEAD, OTHER_SENIOR, SENIOR, MakeScan, listed, person
from tests.moderation.reviews.test_deciding import UPHOLD, decide

__all__ = ["decide"]

NOW = utc_now().replace(microsecond=0)
SINCE, UNTIL = NOW - timedelta(days=20), NOW - timedelta(days=2)


def figures(database: Database, reader: Person | None = None, **period: datetime) -> Figures:
    period = {"since": SINCE, "until": UNTIL, **period}
    return FiguresService(database).figures(DEFAULT_TENANT, reader=reader, now=NOW, **period)


def test_counts_are_those_of_reading_every_row(database: Database) -> None:
    fill(database, 600, now=NOW, seed=4)
    with database.read() as session:
        cases = session.scalars(sa.select(ReviewCase)).all()
        made = session.scalars(sa.select(Decision).order_by(Decision.id)).all()
    found = figures(database, SENIOR)
    made = [each for each in made if SINCE <= each.created_at < UNTIL]
    counted = [each for each in made if each.state == "counted"]

    assert {queue.queue: queue for queue in found.queues} == _queues(cases)
    scans = [case for case in cases if case.kind == "scan" and case.decided_at and SINCE <= case.decided_at < UNTIL]
    assert (found.decided, found.overturned) == (len(scans), sum(case.outcome == "overturn" for case in scans))
    assert found.per_day == dict(Counter(each.created_at.date().isoformat() for each in counted))
    assert list(found.per_day) == sorted(found.per_day)
    for who in found.reviewers:
        mine = [each for each in counted if each.reviewer == who.reviewer]
        assert who.decisions == len(mine)
        assert who.median_seconds == statistics.median_high([each.seconds for each in mine if each.seconds is not None])
        states = Counter(each.state for each in made if each.reviewer == who.reviewer)
        assert (who.undone, who.late) == (states["undone"], states["late"])
        assert (who.golden, who.golden_right) == _golden(mine)
    doubles = _doubles(counted)
    assert len(doubles) > 10
    assert (found.agreement_by_queue, found.agreement_by_reviewer) == (by_queue(doubles), by_reviewer(doubles))
    for row in found.precision:
        held = [case.effect != "allow" for case in scans if row.label in case.labels]
        assert (row.cases, row.held_true, row.precision) == (len(held), sum(held), round(sum(held) / len(held), 4))
    assert {row.label for row in found.precision} == {label for case in scans for label in case.labels}


def _queues(cases: Sequence[ReviewCase]) -> dict[str, Any]:
    from moderation.reviews.figures import QueueFigures

    waiting = [case for case in cases if case.rank is not None and case.kind != "golden"]
    found = {}
    for name in {case.queue for case in waiting}:
        mine = [case for case in waiting if case.queue == name]
        ages = [(NOW - case.created_at).total_seconds() / 3600 for case in mine]
        found[name] = QueueFigures(
            queue=name,
            open=len(mine),
            held=sum(case.lease_until is not None and case.lease_until > NOW for case in mine),
            overdue=sum(case.due_at < NOW for case in mine),
            second=sum(case.state == "second" for case in mine),
            escalated=sum(case.tier == "senior" for case in mine),
            oldest_hours=round(max(ages), 2),
            ages=tuple(sum(low <= age < high for age in ages) for low, high in pairwise((0, *AGES, float("inf")))),
            next_due=min(case.due_at for case in mine),
            overdue_then=tuple(sum(case.due_at < NOW + timedelta(hours=hours) for case in mine) for hours in AGES),
        )
    return found


def _golden(made: Sequence[Decision]) -> tuple[int, int]:
    answers = [each.right for each in made if each.right is not None]
    return len(answers), sum(answers)


def _doubles(counted: Sequence[Decision]) -> list[DoubleDecision]:
    rounds: dict[tuple[str, int], list[Decision]] = {}
    for each in counted:
        if each.outcome != "escalate" and each.right is None:
            rounds.setdefault((each.case_id, each.round), []).append(each)
    return [
        DoubleDecision(two[0].queue, (two[0].reviewer, two[1].reviewer), (two[0].effect, two[1].effect))
        for two in rounds.values()
        if len(two) > 1
    ]


@pytest.mark.parametrize(
    ("reader", "knows"),
    [
        (None, False),
        (LEAD, False),
        (person("al", Role.AUDITOR), False),
        (SENIOR, True),
        (person("both", Role.LEAD, Role.SENIOR), True),
        (person("here", Role.SENIOR, queues=frozenset({"child-abuse"})), True),
        (person("elsewhere", Role.LEAD, Role.SENIOR, queues=frozenset({"explicit"})), False),
    ],
)
def test_known_child_abuse_is_in_the_figures_of_seniors_only(
    database: Database, make_scan: MakeScan, decide: Callable[..., Any], reader: Person | None, knows: bool
) -> None:
    make_scan("waits", listed("child_abuse"))
    _, grave = make_scan("grave", listed("child_abuse"))
    make_scan("plain")
    decide(SENIOR, grave, UPHOLD)
    decide(OTHER_SENIOR, grave, UPHOLD)

    around = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}
    found = figures(database, reader, **around)

    assert [queue.queue for queue in found.queues] == (["child-abuse", "explicit"] if knows else ["explicit"])
    assert (found.decided, sum(found.per_day.values())) == ((1, 2) if knows else (0, 0))
    assert {who.reviewer for who in found.reviewers} == ({"sol", "sky"} if knows else set())
    assert ("child-abuse" in found.agreement_by_queue) == knows
    assert bool(found.precision) == knows


def test_other_tenants_are_in_nobodys_figures(database: Database, make_scan: MakeScan) -> None:
    make_scan("ours")
    elsewhere = Person("sol", "other", "Sol", frozenset({Role.SENIOR}))

    found = FiguresService(database).figures("other", SINCE, NOW, reader=elsewhere, now=NOW)

    assert found.queues == []
