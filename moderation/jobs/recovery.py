"""Looks over all jobs: takes them from dead workers, and tells workers of what the broker lost or never heard."""

from datetime import datetime, timedelta

from moderation.database import clock
from moderation.errors import ModerationError
from moderation.jobs.batches import ABANDONED
from moderation.jobs.records import LANES
from moderation.jobs.repository import JobRepository
from moderation.jobs.running import finish, requeue
from moderation.jobs.service import JobService
from moderation.settings import Settings
from moderation.tables import Job

WINDOW = 256
"""Jobs of a lane that workers are told of at a time, so that a broker's memory does not grow with a batch."""

LIMIT = 500


class LostWorkerError(ModerationError):
    """Workers died over a job."""

    code = "worker_lost"
    status = 503


class JobRecovery:
    """Mends what broke. Several processes may look at once: each passes over what another one has."""

    def __init__(self, jobs: JobService, settings: Settings) -> None:
        self.database = jobs.database
        self.jobs = jobs
        self.losses = settings.job_losses
        self.lease = timedelta(seconds=settings.job_lease_seconds)
        self.told = timedelta(seconds=settings.job_ring_seconds)
        self.days = timedelta(days=settings.job_days)

    def now(self) -> datetime:
        """The database's clock."""
        with self.database.read() as session:
            return clock(session)

    def recover(self, *, now: datetime | None = None) -> int:
        """Everything that is due; gives how many jobs were taken from dead workers, told of, or cleaned up."""
        now = now or self.now()
        done = self.take_from_the_dead(now)
        done += sum(self.ring(lane, now) for lane in LANES)
        done += self._clean_up(now)
        return done

    def take_from_the_dead(self, now: datetime) -> int:
        """Queue jobs again whose worker fell silent; quarantine those that several died over."""
        with self.database.write() as session:
            lost = JobRepository(session).lost(now, self.lease, LIMIT)
            for job in lost:
                job.losses += 1
                if job.losses < self.losses:
                    requeue(job, now)
                    continue
                finish(session, job, "quarantined", error=_lost(job))
        return len(lost)

    def ring(self, lane: str, now: datetime, *, again: bool = False) -> int:
        """Tell workers of jobs that are due, a window of them at a time. again: also of those they were just told of."""
        if not self.jobs.doorbell.can_ring:
            return 0
        before = now if again else now - self.told
        with self.database.write() as session:
            repository = JobRepository(session)
            room = WINDOW - (0 if again else repository.told(lane, before))
            due = repository.to_ring(lane, now, before, room) if room > 0 else []
            for job in due:
                job.rung_at = now
        self.jobs.ring([(job.id, lane) for job in due])
        return len(due)

    def top_up(self) -> int:
        """Tell workers of more bulk jobs once they have begun half of those they were told of."""
        now = self.now()
        with self.database.read() as session:
            told = JobRepository(session).told("bulk", now - self.told)
        return self.ring("bulk", now) if told < WINDOW // 2 else 0

    def _clean_up(self, now: datetime) -> int:
        with self.database.read() as session:
            leftovers = JobRepository(session).leftovers(LIMIT)
        for job in leftovers:
            self.jobs.clean(job)
        with self.database.write() as session:
            repository = JobRepository(session)
            for batch in repository.abandoned(now - ABANDONED):
                repository.withdraw(batch)
            forgotten = repository.forget(now - self.days, LIMIT)
        return len(leftovers) + forgotten


def _lost(job: Job) -> LostWorkerError:
    return LostWorkerError(
        f"{job.losses} workers died or fell silent over this image.",
        hint="Look at it apart from production, then `palisade jobs release`.",
    )
