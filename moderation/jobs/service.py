"""Takes scans that are done later, and answers for them."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from moderation import audit
from moderation.database import Database, clock
from moderation.doorbell import Doorbell, DoorbellError
from moderation.errors import ConflictError, ModerationError, NotFoundError
from moderation.fetch import check_url
from moderation.jobs.pressure import Pressure
from moderation.jobs.records import Order
from moderation.jobs.repository import JobRepository
from moderation.policy import PolicyLibrary
from moderation.scans.service import HostContext, Upload
from moderation.settings import Settings
from moderation.storage import EncryptedFiles
from moderation.tables import Job, Scan, new_id, utc_now
from moderation.vault import Vault

log = structlog.get_logger(__name__)

JITTER = random.Random()
"""Of its own: whoever seeds the process's random numbers does not line processes up."""


class Spool:
    """Where images and addresses wait for their scan, encrypted."""

    def __init__(self, settings: Settings) -> None:
        self.files = EncryptedFiles(
            settings.spool,
            Vault.of(settings.image_keys, setting="PALISADE_IMAGE_KEYS"),
            place="PALISADE_SPOOL_URL",
            no_key=(
                "No key is set to encrypt images with while they wait.",
                "Set PALISADE_IMAGE_KEYS (make one with `palisade keys generate-secret`), or scan without `async`.",
            ),
        )

    def check(self) -> None:
        """Raises StorageError where no key is set."""
        self.files.key()

    def put(self, tenant: str, job_id: str, data: bytes) -> None:
        """Raises StorageError."""
        self.files.write(_path(tenant, job_id), data, context=_context(tenant, job_id), what=f"The image of {job_id}")

    def get(self, tenant: str, job_id: str) -> bytes:
        """Raises StorageError; FileNotFoundError where it is gone."""
        return self.files.read(_path(tenant, job_id), context=_context(tenant, job_id), what=f"The image of {job_id}")

    def remove(self, tenant: str, job_id: str) -> None:
        """Raises StorageError."""
        self.files.remove(_path(tenant, job_id), what=f"The image of {job_id}")

    def seal(self, tenant: str, job_id: str, url: str) -> bytes:
        """An address as it is kept: it may carry a signature that opens the image."""
        return self.files.key().encrypt(url.encode(), _context(tenant, job_id).encode())

    def unseal(self, tenant: str, job_id: str, sealed: bytes) -> str:
        """Raises StorageError."""
        return self.files.key().decrypt(sealed, _context(tenant, job_id).encode()).decode()


class JobService:
    """Jobs of tenants. The database is the truth about them; the doorbell only tells workers that there is something."""

    def __init__(
        self, database: Database, spool: Spool, policies: PolicyLibrary, doorbell: Doorbell, settings: Settings
    ) -> None:
        self.database = database
        self.spool = spool
        self.policies = policies
        self.doorbell = doorbell
        self.pressure = Pressure(database, jobs=settings.job_most, size=settings.job_most_bytes)

    def check_room(self, size: int) -> None:
        """Before the bytes are read: raises RateLimitError where no more jobs or bytes are taken."""
        self.pressure.check(1, size)

    def submit(self, tenant: str, order: Order, *, lane: str = "interactive") -> Job:
        """Take a scan to be done later; once this returns it will be done or its failure told.

        Raises RateLimitError, PolicyError, FetchError where the address may not be fetched, StorageError.
        """
        self.spool.check()
        self.policies.get(order.policy)
        if order.source:
            check_url(order.source)
        self.pressure.take(1, len(order.data))
        job = self.row(tenant, order, lane=lane)
        if order.data:
            self.spool.put(tenant, job.id, order.data)
        with self.database.write() as session:
            job.run_at = clock(session)
            job.rung_at = job.run_at if self.doorbell.can_ring else None
            JobRepository(session, tenant).add([job])
        self.ring([(job.id, lane)])
        return job

    def row(self, tenant: str, order: Order, *, lane: str, batch_id: str | None = None) -> Job:
        """The row of an order."""
        now, job_id = utc_now(), new_id("job")
        return Job(
            id=job_id,
            tenant_id=tenant,
            created_at=now,
            batch_id=batch_id,
            line=order.line,
            lane=lane,
            state="queued",
            source=self.spool.seal(tenant, job_id, order.source) if order.source else None,
            size=len(order.data),
            spooled=bool(order.data),
            policy=order.policy,
            what=order.what(),
            attempts=0,
            losses=0,
            run_at=now,
            rung_at=None,
            holder="",
            held_until=None,
            scan_id=None,
            code="",
            error="",
            finished_at=None,
        )

    def ring(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Tell workers of jobs. One that cannot be told now is told when jobs are next looked over."""
        if not self.doorbell.can_ring:
            return
        try:
            for job_id, lane in jobs:
                self.doorbell.ring(job_id, lane)
        except DoorbellError as error:
            log.warning("workers could not be told", jobs=len(jobs), error=error.message)

    def find(self, tenant: str, job_id: str) -> tuple[Job, Scan | None]:
        """A job, and its scan once it is done. Raises NotFoundError."""
        with self.database.read() as session:
            repository = JobRepository(session, tenant)
            job = found(repository.job(job_id), job_id)
            return job, repository.scan(job.scan_id) if job.scan_id else None

    def jobs(
        self, tenant: str, *, state: str = "", batch: str = "", after: str = "", limit: int = 100
    ) -> Sequence[Job]:
        """A tenant's jobs by age."""
        with self.database.read() as session:
            return JobRepository(session, tenant).page(state=state, batch=batch, after=after, limit=limit)

    def counts(self, tenant: str) -> Mapping[str, int]:
        """How many of a tenant's jobs are in each state."""
        with self.database.read() as session:
            return JobRepository(session, tenant).counts()

    def release(self, tenant: str, job_id: str, *, actor: str) -> Job:
        """Try a quarantined job again, as if it were new. Raises NotFoundError, ConflictError."""
        with self.database.write() as session:
            repository = JobRepository(session, tenant)
            job = found(repository.job(job_id, lock=True), job_id)
            if job.state != "quarantined":
                raise ConflictError(f"The job is {job.state}, not quarantined.", hint="See `palisade jobs list`.")
            job.state, job.attempts, job.losses, job.run_at = "queued", 0, 0, clock(session)
            job.finished_at, job.rung_at = None, job.run_at if self.doorbell.can_ring else None
            reopen_batch(repository, job)
            audit.record(session, tenant, actor, "job.released", job_id, code=job.code)
        self.ring([(job.id, job.lane)])
        return job

    def clean(self, job: Job) -> None:
        """Destroy the bytes of a job that ended. Where that fails it is tried again later."""
        if not job.spooled:
            return
        try:
            self.spool.remove(job.tenant_id, job.id)
        except ModerationError as error:
            log.error("bytes of a job could not be destroyed", job=job.id, error=error.message)
            return
        with self.database.write() as session:
            JobRepository(session).unspool(job.id)

    def bytes_of(self, job: Job, fetch: Callable[[str], bytes]) -> Upload:
        """The upload that a job is about. Raises StorageError, FetchError."""
        what = job.what
        data = (
            fetch(self.spool.unseal(job.tenant_id, job.id, job.source))
            if job.source
            else self.spool.get(job.tenant_id, job.id)
        )
        context, facts = HostContext(**what["context"]), {"reach": what["reach"], "consent": what["consent"]}
        return Upload(data, what["name"], what["content_type"], context, job.policy, **facts)


def found(job: Job | None, job_id: str) -> Job:
    """Raises NotFoundError."""
    if job is None:
        raise NotFoundError(f"There is no job {job_id[:60]!r}.", hint="Ids look like `job_01k2…`.")
    return job


def reopen_batch(repository: JobRepository, job: Job) -> None:
    """A released job is no longer counted as quarantined; that its batch finished stays said."""
    batch = repository.batch(job.batch_id, lock=True) if job.batch_id else None
    if batch:
        batch.quarantined -= 1


def backoff(attempt: int, first: float, now: datetime) -> datetime:
    """When the attempt behind this one (from 1) may begin."""
    return now + timedelta(seconds=min(first * 4 ** (attempt - 1), 3_600) * JITTER.uniform(0.5, 1.5))


def _path(tenant: str, job_id: str) -> str:
    return f"{tenant}/{job_id[-2:]}/{job_id}"


def _context(tenant: str, job_id: str) -> str:
    return f"job/{tenant}/{job_id}"
