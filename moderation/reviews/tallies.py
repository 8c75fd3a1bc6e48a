"""SQL of figures: counts that the database makes, so that no page reads every case and decision."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.roles import Person, Role
from moderation.tables import Decision, ReviewCase

Row = sa.Row[Any]

GRAVEST = sa.literal_column("5", sa.Integer)
"""The severity of what only seniors know of; few cases have it, and an index knows them."""


class Tallies:
    """Counts of one tenant's cases and decisions. Cases that the reader may not know of are in none of them."""

    def __init__(self, session: Session, tenant: str, reader: Person | None) -> None:
        self.session = session
        self.tenant = tenant
        self.known = _known_to(reader)

    def queues(self, now: datetime, ages: Sequence[int]) -> Sequence[Row]:
        """By queue of what waits: open, held, overdue, second, escalated, oldest, next_due; young0…: younger than each of
        `ages` hours; late0…: overdue in so many.
        """
        made, due = ReviewCase.created_at, ReviewCase.due_at
        columns: dict[str, sa.ColumnElement[Any]] = {
            "held": _sum(ReviewCase.lease_until > now),
            "overdue": _sum(due < now),
            "second": _sum(ReviewCase.state == "second"),
            "escalated": _sum(ReviewCase.tier == "senior"),
            "oldest": sa.func.min(made),
            "next_due": sa.func.min(due),
        }
        for place, hours in enumerate(ages):
            columns[f"young{place}"] = _sum(made > now - timedelta(hours=hours))
            columns[f"late{place}"] = _sum(due < now + timedelta(hours=hours))
        named = [column.label(name) for name, column in columns.items()]
        query = sa.select(ReviewCase.queue, sa.func.count().label("open"), *named).where(
            ReviewCase.tenant_id == self.tenant,
            ReviewCase.rank.is_not(None),
            ReviewCase.kind != "golden",
            self.known,
        )
        return self.session.execute(query.group_by(ReviewCase.queue).order_by(ReviewCase.queue)).all()

    def decided(self, since: datetime, until: datetime) -> Sequence[Row]:
        """Cases of a period that were decided, by kind, outcome, effect and labels: and how many. Few sets of labels differ."""
        decided = ReviewCase.decided_at
        what = (ReviewCase.kind, ReviewCase.outcome, ReviewCase.effect, ReviewCase.labels)
        query = sa.select(*what, sa.func.count().label("cases")).where(
            ReviewCase.tenant_id == self.tenant, decided >= since, decided < until, self.known
        )
        return self.session.execute(query.group_by(*what)).all()

    def per_day(self, since: datetime, until: datetime) -> Mapping[str, int]:
        """Decisions that count, by day in UTC (ISO date), in order."""
        if self.session.get_bind().dialect.name == "postgresql":
            day: sa.ColumnElement[str] = sa.func.to_char(sa.func.timezone("UTC", Decision.created_at), "YYYY-MM-DD")
        else:
            day = sa.func.substr(sa.cast(Decision.created_at, sa.String), 1, 10)
        counted = (*self._made(since, until), Decision.state == "counted")
        query = sa.select(day.label("day"), sa.func.count()).where(*counted)
        return {row[0]: row[1] for row in self.session.execute(query.group_by("day").order_by("day"))}

    def reviewers(self, since: datetime, until: datetime) -> Sequence[Row]:
        """By reviewer: counted, undone, late; golden: known answers met, golden_right: and given."""
        counted = Decision.state == "counted"
        columns: list[sa.ColumnElement[Any]] = [
            _sum(counted).label("counted"),
            _sum(Decision.state == "undone").label("undone"),
            _sum(Decision.state == "late").label("late"),
            _sum(counted & Decision.right.is_not(None)).label("golden"),
            _sum(counted & Decision.right.is_(True)).label("golden_right"),
        ]
        query = sa.select(Decision.reviewer, *columns).where(*self._made(since, until))
        return self.session.execute(query.group_by(Decision.reviewer).order_by(Decision.reviewer)).all()

    def medians(self, since: datetime, until: datetime) -> Mapping[str, float]:
        """Seconds of each reviewer's middle decision; of two in the middle the longer."""
        person = Decision.reviewer
        ranked = (
            sa.select(
                person,
                Decision.seconds,
                sa.func.row_number().over(partition_by=person, order_by=Decision.seconds).label("place"),
                sa.func.count().over(partition_by=person).label("all"),
            )
            .where(*self._made(since, until), Decision.state == "counted", Decision.seconds.is_not(None))
            .subquery()
        )
        query = sa.select(ranked.c.reviewer, ranked.c.seconds).where(ranked.c.place == ranked.c.all // 2 + 1)
        return {row[0]: row[1] for row in self.session.execute(query)}

    def doubles(self, since: datetime, until: datetime) -> Sequence[Row]:
        """The first two independent decisions of each round of a case: queue, who and what, one and other, and how often."""
        ranked = (
            sa.select(
                Decision.queue,
                Decision.reviewer.label("one"),
                Decision.effect.label("first"),
                _in_turn(sa.func.lead(Decision.reviewer)).label("other"),
                _in_turn(sa.func.lead(Decision.effect)).label("second"),
                _in_turn(sa.func.row_number()).label("place"),
            )
            .where(*self._made(since, until), Decision.state == "counted")
            .where(Decision.outcome != "escalate", Decision.right.is_(None))
            .subquery()
        )
        pair = (ranked.c.queue, ranked.c.one, ranked.c.other, ranked.c.first, ranked.c.second)
        query = sa.select(*pair, sa.func.count().label("times")).where(ranked.c.place == 1, ranked.c.other.is_not(None))
        return self.session.execute(query.group_by(*pair).order_by(*pair)).all()

    def _made(self, since: datetime, until: datetime) -> tuple[sa.ColumnElement[bool], ...]:
        made = Decision.created_at
        hidden = sa.select(ReviewCase.id).where(
            ReviewCase.tenant_id == self.tenant, ReviewCase.severity == GRAVEST, sa.not_(self.known)
        )
        return Decision.tenant_id == self.tenant, made >= since, made < until, Decision.case_id.not_in(hidden)


def _in_turn(what: sa.FunctionElement[Any]) -> sa.Over[Any]:
    """Of the decisions of a round of a case, in their order."""
    return what.over(partition_by=(Decision.case_id, Decision.round), order_by=Decision.id)


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _known_to(reader: Person | None) -> sa.ColumnElement[bool]:
    """Cases that somebody may know of: the gravest are known to seniors only, in the queues that they work."""
    others = sa.not_(sa.and_(ReviewCase.tier == "senior", ReviewCase.severity == GRAVEST))
    if reader is None or not reader.has(Role.SENIOR):
        return others
    return sa.literal(True) if reader.queues is None else sa.or_(others, ReviewCase.queue.in_(sorted(reader.queues)))
