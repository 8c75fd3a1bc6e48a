"""Batches: many scans by one manifest, taken row by row and counted to their end."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from moderation import audit, events
from moderation.database import clock
from moderation.errors import InvalidRequestError, ModerationError, NotFoundError
from moderation.fetch import check_url
from moderation.jobs.records import BadRow, Order
from moderation.jobs.repository import JobRepository
from moderation.jobs.service import JobService
from moderation.tables import Batch, Job, new_id, utc_now

ABANDONED = timedelta(minutes=15)
"""A manifest of which nothing came for so long has lost its sender."""


class BatchService:
    """Takes manifests. Nothing of one is begun before all of it is there."""

    def __init__(self, jobs: JobService) -> None:
        self.jobs = jobs
        self.database = jobs.database

    def begin(self, tenant: str, name: str, *, actor: str) -> Batch:
        """A new batch that rows may be added to. Raises RateLimitError, StorageError."""
        self.jobs.spool.check()
        self.jobs.check_room(0)
        now = utc_now()
        batch = Batch(
            id=new_id("batch"),
            tenant_id=tenant,
            created_at=now,
            name=name,
            state="receiving",
            total=0,
            done=0,
            failed=0,
            quarantined=0,
            touched_at=now,
            finished_at=None,
        )
        with self.database.write() as session:
            JobRepository(session, tenant).add([batch])
            audit.record(session, tenant, actor, "batch.created", batch.id)
        return batch

    def add(self, batch: Batch, rows: Sequence[Order | BadRow]) -> None:
        """Add rows of the manifest; bad ones become failed jobs, so that they are listed with the rest.

        Raises RateLimitError where no more is taken, NotFoundError where the batch is gone.
        """
        self.jobs.pressure.take(len(rows), 0)
        made = [self._job(batch, row) for row in rows]
        with self.database.write() as session:
            repository = JobRepository(session, batch.tenant_id)
            kept = found(repository.batch(batch.id, lock=True), batch.id)
            kept.total += len(made)
            kept.failed += sum(job.state == "failed" for job in made)
            now = kept.touched_at = clock(session)
            for job in made:
                job.run_at = now
            repository.add(made)

    def _job(self, batch: Batch, row: Order | BadRow) -> Job:
        if isinstance(row, BadRow):
            return self._failed(batch, row.line, "manifest_row_invalid", row.error)
        try:
            check_url(row.source)
            self.jobs.policies.get(row.policy)
        except ModerationError as error:
            return self._failed(batch, row.line or 0, error.error_code, error.message)
        return self.jobs.row(batch.tenant_id, row, lane="bulk", batch_id=batch.id)

    def _failed(self, batch: Batch, line: int, code: str, message: str) -> Job:
        job = self.jobs.row(batch.tenant_id, Order(line=line), lane="bulk", batch_id=batch.id)
        job.state, job.code, job.error, job.finished_at = "failed", code, f"Line {line}: {message}", utc_now()
        return job

    def complete(self, batch: Batch) -> Batch:
        """All rows are there: the work may begin. Raises InvalidRequestError where there are none."""
        with self.database.write() as session:
            repository = JobRepository(session, batch.tenant_id)
            kept = found(repository.batch(batch.id, lock=True), batch.id)
            if not kept.total:
                raise InvalidRequestError(
                    "The manifest has no rows.", hint='Send a line of JSON such as {"url": "https://…"} for each image.'
                )
            kept.state = "running"
            end_batch(session, kept)
        return kept

    def withdraw(self, batch: Batch) -> None:
        """Take a batch back whose manifest could not be taken whole."""
        with self.database.write() as session:
            repository = JobRepository(session, batch.tenant_id)
            kept = repository.batch(batch.id, lock=True)
            if kept and kept.state == "receiving":
                repository.withdraw(kept)

    def find(self, tenant: str, batch_id: str) -> Batch:
        """Raises NotFoundError."""
        with self.database.read() as session:
            return found(JobRepository(session, tenant).batch(batch_id), batch_id)

    def failures(self, tenant: str, batch_id: str, *, after: int = 0, limit: int = 100) -> Sequence[Job]:
        """A batch's jobs that did not end in a scan, by line. Raises NotFoundError."""
        with self.database.read() as session:
            repository = JobRepository(session, tenant)
            found(repository.batch(batch_id), batch_id)
            return repository.failures(batch_id, after=after, limit=limit)


def end_batch(session: Session, batch: Batch) -> None:
    """Tell the host that a locked batch ended, once: where no job is left and it has not been told."""
    if batch.state != "running" or left(batch):
        return
    batch.state, batch.finished_at = "finished", utc_now()
    counts = {name: getattr(batch, name) for name in ("total", "done", "failed", "quarantined")}
    events.add(session, batch.tenant_id, "batch.finished", {"batch": batch.id, "name": batch.name, **counts})


def left(batch: Batch) -> int:
    """How many of a batch's jobs have not ended."""
    return batch.total - batch.done - batch.failed - batch.quarantined


def found(batch: Batch | None, batch_id: str) -> Batch:
    """Raises NotFoundError."""
    if batch is None:
        raise NotFoundError(f"There is no batch {batch_id[:60]!r}.", hint="Ids look like `batch_01k2…`.")
    return batch
