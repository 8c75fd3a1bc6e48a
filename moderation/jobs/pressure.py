"""Back-pressure: how much work may wait."""

import threading
import time

from moderation.database import Database
from moderation.errors import RateLimitError
from moderation.jobs.repository import JobRepository

FRESH_SECONDS = 1.0
"""How long a count of the database is believed: counting for every upload would cost more than what it guards."""

RETRY_AFTER = 10


class Pressure:
    """Counts what waits: the database's count, at most a second old, and what this process took since.

    jobs, size: the most jobs, and the most bytes, that may wait. Several processes together may pass them by what they take
    within that second.
    """

    def __init__(self, database: Database, *, jobs: int, size: int) -> None:
        self.database = database
        self.most_jobs, self.most_size = jobs, size
        self._lock = threading.Lock()
        self._counted = float("-inf")
        self._jobs = self._size = 0

    def check(self, jobs: int, size: int) -> None:
        """Raises RateLimitError where so much more would be too much."""
        with self._lock:
            self._check(jobs, size)

    def take(self, jobs: int, size: int) -> None:
        """Count it as waiting. Raises RateLimitError where it would be too much."""
        with self._lock:
            self._check(jobs, size)
            self._jobs += jobs
            self._size += size

    def _check(self, jobs: int, size: int) -> None:
        now = time.monotonic()
        if now - self._counted > FRESH_SECONDS:
            with self.database.read() as session:
                self._jobs, self._size = JobRepository(session).waiting()
            self._counted = now
        if self._jobs + jobs > self.most_jobs:
            raise _too_much(f"{self._jobs:,} scans wait", f"{self.most_jobs:,} (PALISADE_JOB_MOST)")
        if self._size + size > self.most_size:
            raise _too_much(f"{self._size:,} bytes wait", f"{self.most_size:,} (PALISADE_JOB_MOST_BYTES)")


def _too_much(waiting: str, most: str) -> RateLimitError:
    return RateLimitError(
        f"{waiting}; at most {most} may.",
        retry_after=RETRY_AFTER,
        hint="Send it again later, or run more workers.",
    )
