"""What waits: events to tell, notices whose clock runs, exchanges to follow, scans and cases in queues, re-scans. For monitoring,
over every tenant."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from moderation import events, waiting
from moderation.database import Database
from moderation.exchanges import repository as exchanges
from moderation.tables import Exchange, utc_now
from moderation.takedowns import repository as takedowns


@dataclass(frozen=True)
class ExchangeLag:
    """An exchange that is followed by itself. lag_seconds: since its last run ended, or since it was added."""

    tenant: str
    name: str
    every_seconds: int
    lag_seconds: float
    failing: bool

    @classmethod
    def of(cls, row: Exchange, now: datetime) -> "ExchangeLag":
        lag = (now - (row.synced_at or row.created_at)).total_seconds()
        return cls(row.tenant_id, row.name, row.every_seconds, lag, bool(row.error))


@dataclass(frozen=True)
class Queue:
    """Asynchronous scans of a lane in a state, or cases of a queue. overdue: cases that are past their time."""

    name: str
    count: int
    oldest_seconds: float
    state: str = ""
    overdue: int = 0


@dataclass(frozen=True)
class Rescans:
    """Re-scans that are open, by state; postings that the running ones have still to judge, and those that were given up."""

    open: dict[str, int]
    left: int
    failed: int
    oldest_seconds: float | None


@dataclass(frozen=True)
class Backlog:
    """Ages and times in seconds, None where nothing waits. notice_due_seconds is below 0 when a notice is overdue."""

    events: int
    oldest_event_seconds: float | None
    events_given_up: int
    notices: int
    notice_due_seconds: float | None
    exchanges: tuple[ExchangeLag, ...]
    jobs: tuple[Queue, ...]
    cases: tuple[Queue, ...]
    rescans: Rescans


def read_backlog(database: Database, now: datetime | None = None) -> Backlog:
    """Read it in one short transaction."""
    now = now or utc_now()
    with database.read() as session:
        pending, oldest, lost = events.waiting(session)
        notices, due = takedowns.running_clocks(session)
        followed = tuple(ExchangeLag.of(row, now) for row in exchanges.followed(session))
        jobs = tuple(
            Queue(lane, count, (now - since).total_seconds(), state=state)
            for lane, state, count, since in waiting.jobs(session)
        )
        cases = tuple(
            Queue(name, count, (now - since).total_seconds(), overdue=late)
            for name, count, since, late in waiting.cases(session, now)
        )
        rescans = _rescans(session, now)
    return Backlog(
        events=pending,
        oldest_event_seconds=None if oldest is None else (now - oldest).total_seconds(),
        events_given_up=lost,
        notices=notices,
        notice_due_seconds=None if due is None else (due - now).total_seconds(),
        exchanges=followed,
        jobs=jobs,
        cases=cases,
        rescans=rescans,
    )


def _rescans(session: Session, now: datetime) -> Rescans:
    begun = waiting.rescan_oldest(session)
    return Rescans(
        waiting.rescans(session),
        waiting.rescans_left(session),
        waiting.rescans_failed(session, now),
        None if begun is None else (now - begun).total_seconds(),
    )
