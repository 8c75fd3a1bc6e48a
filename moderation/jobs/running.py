"""What a worker does with a job, so that it has its effects once, however often it is told to."""

import time
from datetime import datetime, timedelta

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from moderation import audit, events
from moderation.database import Database, clock
from moderation.errors import FetchError, ModerationError, RateLimitError
from moderation.fetch import SafeClient
from moderation.jobs.batches import end_batch
from moderation.jobs.records import GRACE, Claim, LeaseLostError, is_due
from moderation.jobs.repository import JobRepository
from moderation.jobs.service import JobService, backoff
from moderation.leases import Heartbeat, new_holder
from moderation.scans.service import ScanService
from moderation.settings import Settings
from moderation.tables import Job, Scan, utc_now

log = structlog.get_logger(__name__)

WORKER = "worker"

TRANSIENT_FETCHES = ("fetch_failed", "fetch_timeout")
"""The host may answer next time; other refusals of an address stay."""


class TooLongError(ModerationError):
    """A scan took longer than it may."""

    code = "job_timeout"
    status = 503


class JobRunner:
    """Runs jobs: claims one, scans, and ends it in the transaction that remembers the scan."""

    def __init__(
        self, database: Database, jobs: JobService, scans: ScanService, client: SafeClient, settings: Settings
    ) -> None:
        self.database = database
        self.jobs = jobs
        self.scans = scans
        self.client = client
        self.settings = settings
        self.lease = timedelta(seconds=settings.job_lease_seconds)

    def run(self, job_id: str) -> str:
        """Do a job, unless it is done, another worker has it or it is not due. Gives its state then, '' where it was not begun.

        Raises nothing of the job's own: how it failed is kept with it. Errors of the database are raised.
        """
        claim = self._claim(job_id)
        if claim is None:
            return ""
        with Heartbeat(
            lambda until: self._renew(claim, until), every=self.lease / 3, lasts=self.lease, most=self._most()
        ):
            state = self._try(claim)
        if state in ("done", "failed"):
            self.jobs.clean(claim.job)
        return state

    def _most(self) -> timedelta:
        return timedelta(seconds=self.settings.job_seconds + GRACE)

    def _claim(self, job_id: str) -> Claim | None:
        holder = new_holder()
        with self.database.write() as session:
            now = clock(session)
            job = JobRepository(session).job(job_id, lock=True)
            if job is None or job.state != "queued" or not is_due(job.run_at, now):
                return None
            job.state, job.holder, job.held_until = "running", holder, now + self.lease
            job.attempts += 1
        return Claim(job, holder)

    def _renew(self, claim: Claim, until: timedelta) -> bool:
        with self.database.write() as session:
            return JobRepository(session).renew(claim.job.id, claim.holder, clock(session) + until)

    def _try(self, claim: Claim) -> str:
        ends = time.monotonic() + self.settings.job_seconds
        try:
            upload = self.jobs.bytes_of(claim.job, self._fetch)
            self.scans.scan(
                claim.job.tenant_id,
                upload,
                bulk=claim.job.lane == "bulk",
                also=lambda session, scan: end(session, claim, "done", scan=scan),
            )
        except LeaseLostError:
            log.warning("job was taken over", job=claim.job.id)
            return ""
        except RateLimitError as error:
            return self._hand_back(claim, float(error.retry_after))  # uploads have all turns
        except (OperationalError, InterfaceError) as error:
            log.warning("the database failed in a job", job=claim.job.id, error=str(error.orig))
            return self._hand_back(claim, self.settings.job_retry_seconds)
        except SystemExit:
            if time.monotonic() < ends:  # the worker is told to end at once; later, a scan that overran is killed
                self._hand_back(claim, 0)
            raise
        except ModerationError as error:
            failure = error
        except SoftTimeLimitExceeded:
            failure = TooLongError(f"The scan took longer than {self.settings.job_seconds} s.")
        except Exception as error:
            log.exception("job failed", job=claim.job.id)
            failure = ModerationError(f"{type(error).__name__} in the scan.")
        else:
            return "done"
        return self._failed(claim, failure)

    def _fetch(self, url: str) -> bytes:
        return self.client.fetch(url, max_bytes=self.settings.max_bytes).data

    def _hand_back(self, claim: Claim, seconds: float) -> str:
        """Let another worker begin it, after so many seconds: no fault of the job's, and no attempt."""
        try:
            with self.database.write() as session:
                job = held(session, claim)
                job.attempts -= 1
                requeue(job, backoff(1, seconds, clock(session)))
        except LeaseLostError:
            return ""
        return "queued"

    def _failed(self, claim: Claim, error: ModerationError) -> str:
        state = self._state_after(claim.job, error)
        try:
            with self.database.write() as session:
                if state == "queued":
                    job = held(session, claim)
                    job.code, job.error = error.error_code, error.message
                    requeue(job, backoff(job.attempts, self.settings.job_retry_seconds, clock(session)))
                else:
                    end(session, claim, state, error=error)
        except LeaseLostError:
            return ""
        return state

    def _state_after(self, job: Job, error: ModerationError) -> str:
        of_host = isinstance(error, FetchError) and error.error_code in TRANSIENT_FETCHES
        if error.http_status < 500 and not of_host:
            return "failed"
        if job.attempts < self.settings.job_attempts:
            return "queued"
        return "failed" if of_host else "quarantined"


def held(session: Session, claim: Claim) -> Job:
    """The job, locked. Raises LeaseLostError where it is not this worker's any more."""
    job = JobRepository(session).job(claim.job.id, lock=True)
    if job is None or job.state != "running" or job.holder != claim.holder:
        raise LeaseLostError(f"The job {claim.job.id} is another worker's by now.")
    return job


def requeue(job: Job, run_at: datetime) -> None:
    """Let any worker begin it, from then on."""
    job.state, job.holder, job.held_until = "queued", "", None
    job.run_at, job.rung_at = run_at, None


def end(
    session: Session, claim: Claim, state: str, *, scan: Scan | None = None, error: ModerationError | None = None
) -> None:
    """End a job with its events, in the caller's transaction. Raises LeaseLostError."""
    finish(session, held(session, claim), state, scan=scan, error=error)


def finish(
    session: Session, job: Job, state: str, *, scan: Scan | None = None, error: ModerationError | None = None
) -> None:
    """End a locked job: its state, its batch's counts, and what the host is told."""
    job.state, job.finished_at, job.held_until = state, utc_now(), None
    job.scan_id = scan.id if scan else None
    job.code, job.error = (error.error_code, error.message) if error else ("", "")
    if state == "quarantined":
        audit.record(session, job.tenant_id, WORKER, "job.quarantined", job.id, code=job.code)
    events.add(session, job.tenant_id, "scan.finished", told(job, scan))
    count_in_batch(session, job)


def told(job: Job, scan: Scan | None) -> dict[str, object]:
    """What the host is told of a job that ended."""
    return {
        "job": job.id,
        "batch": job.batch_id,
        "line": job.line,
        "state": job.state,
        "external_id": job.what["context"].get("external_id", ""),
        "scan": scan.id if scan else None,
        "sha256": scan.image.sha256 if scan else None,
        "action": scan.action if scan else None,
        "error": {"code": job.code, "message": job.error} if job.code else None,
    }


def count_in_batch(session: Session, job: Job) -> None:
    """Count a job that ended in its batch, and tell the host once the last one did."""
    batch = JobRepository(session).batch(job.batch_id, lock=True) if job.batch_id else None
    if batch is None:
        return
    setattr(batch, job.state, getattr(batch, job.state) + 1)
    end_batch(session, batch)
