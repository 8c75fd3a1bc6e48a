"""SQL of jobs and batches."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.jobs.records import ENDED, LONGEST_WAIT
from moderation.tables import Batch, Job, Scan

S = TypeVar("S", bound=sa.Select[Any])


class JobRepository:
    """Reads and writes jobs within one transaction: those of one tenant, or of all for workers."""

    def __init__(self, session: Session, tenant: str | None = None) -> None:
        self.session = session
        self.tenant = tenant

    def add(self, rows: Sequence[Job | Batch]) -> None:
        self.session.add_all(rows)
        self.session.flush()

    def job(self, job_id: str, *, lock: bool = False) -> Job | None:
        query = self._own(sa.select(Job), Job).where(Job.id == job_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def batch(self, batch_id: str, *, lock: bool = False) -> Batch | None:
        query = self._own(sa.select(Batch), Batch).where(Batch.id == batch_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def page(self, *, state: str = "", batch: str = "", after: str = "", limit: int = 100) -> Sequence[Job]:
        """Jobs by age."""
        query = self._own(sa.select(Job), Job).where(Job.id > after)
        query = query.where(Job.state == state) if state else query
        query = query.where(Job.batch_id == batch) if batch else query
        return self.session.scalars(query.order_by(Job.id).limit(limit)).all()

    def failures(self, batch_id: str, *, after: int, limit: int) -> Sequence[Job]:
        """A batch's jobs that did not end in a scan, by line."""
        query = self._own(sa.select(Job), Job).where(
            Job.batch_id == batch_id, Job.state.in_(("failed", "quarantined")), Job.line > after
        )
        return self.session.scalars(query.order_by(Job.line).limit(limit)).all()

    def scan(self, scan_id: str) -> Scan | None:
        return self.session.get(Scan, scan_id)

    def waiting(self) -> tuple[int, int]:
        """Jobs that have not ended, and bytes that are kept for jobs."""
        jobs = self.session.scalar(sa.select(sa.func.count()).where(Job.state.in_(("queued", "running")))) or 0
        size = self.session.scalar(sa.select(sa.func.sum(Job.size)).where(Job.spooled.is_(True))) or 0
        return jobs, int(size)

    def lost(self, now: datetime, lease: timedelta, limit: int) -> Sequence[Job]:
        """Jobs whose worker gave no sign of life in time; locked, and passed over where another process has them.

        A lease that ends far too late is of a clock that jumped: it is none.
        """
        over = sa.or_(Job.held_until < now, Job.held_until > now + 2 * lease)
        query = sa.select(Job).where(Job.state == "running", over).order_by(Job.held_until)
        return self.session.scalars(query.limit(limit).with_for_update(skip_locked=True)).all()

    def to_ring(self, lane: str, now: datetime, told_before: datetime, limit: int) -> Sequence[Job]:
        """Queued jobs that are due and that no worker was told of since `told_before`, the longest due first."""
        receiving = sa.select(Batch.id).where(Batch.state == "receiving")
        query = sa.select(Job).where(
            Job.state == "queued",
            Job.lane == lane,
            sa.or_(Job.run_at <= now, Job.run_at > now + LONGEST_WAIT),
            sa.or_(Job.rung_at.is_(None), Job.rung_at < told_before, Job.rung_at > now + LONGEST_WAIT),
            sa.or_(Job.batch_id.is_(None), Job.batch_id.not_in(receiving)),
        )
        query = query.order_by(Job.run_at, Job.id).limit(limit)
        return self.session.scalars(query.with_for_update(skip_locked=True, of=Job)).all()

    def told(self, lane: str, since: datetime) -> int:
        """Jobs that workers were told of since then and that none has begun."""
        lately = Job.rung_at.between(since, since + LONGEST_WAIT)
        query = sa.select(sa.func.count()).where(Job.state == "queued", Job.lane == lane, lately)
        return self.session.scalar(query) or 0

    def leftovers(self, limit: int) -> Sequence[Job]:
        """Jobs that ended, and whose bytes are still there: their process died between the two."""
        query = sa.select(Job).where(Job.spooled.is_(True), Job.state.in_(("done", "failed")))
        return self.session.scalars(query.order_by(Job.finished_at).limit(limit)).all()

    def renew(self, job_id: str, holder: str, until: datetime) -> bool:
        """Keep a lease; False where it is another's."""
        mine = sa.update(Job).where(Job.id == job_id, Job.state == "running", Job.holder == holder)
        return self._changed(mine.values(held_until=until)) == 1

    def unspool(self, job_id: str) -> None:
        self.session.execute(sa.update(Job).where(Job.id == job_id).values(spooled=False))

    def abandoned(self, before: datetime) -> Sequence[Batch]:
        """Batches whose manifest stopped coming."""
        query = sa.select(Batch).where(Batch.state == "receiving", Batch.touched_at < before)
        return self.session.scalars(query.with_for_update(skip_locked=True)).all()

    def withdraw(self, batch: Batch) -> None:
        """Delete a batch whose manifest was not taken: none of its jobs was begun."""
        self.session.execute(sa.delete(Job).where(Job.batch_id == batch.id))
        self.session.delete(batch)

    def forget(self, before: datetime, limit: int) -> int:
        """Delete jobs that ended before then, and batches that have none left. Quarantined ones stay."""
        old = sa.select(Job.id).where(
            Job.spooled.is_(False), Job.state.in_(("done", "failed")), Job.finished_at < before
        )
        gone = self._changed(sa.delete(Job).where(Job.id.in_(old.limit(limit))))
        empty = sa.select(Batch.id).where(Batch.state == "finished", Batch.finished_at < before)
        left = sa.select(Job.id).where(Job.batch_id == Batch.id).exists()
        self.session.execute(sa.delete(Batch).where(Batch.id.in_(empty), ~left))
        return gone

    def counts(self) -> Mapping[str, int]:
        """How many jobs are in each state."""
        query = sa.select(Job.state, sa.func.count()).group_by(Job.state)
        query = query if self.tenant is None else query.where(Job.tenant_id == self.tenant)
        return {row[0]: row[1] for row in self.session.execute(query)}

    def _own(self, query: S, table: type[Job | Batch]) -> S:
        return query if self.tenant is None else query.where(table.tenant_id == self.tenant)

    def _changed(self, statement: sa.Executable) -> int:
        return int(getattr(self.session.execute(statement), "rowcount", 0))


def has_ended(job: Job) -> bool:
    return job.state in ENDED
