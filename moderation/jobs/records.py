"""What jobs and batches are to those who ask for them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moderation.errors import ModerationError
from moderation.scans.service import HostContext
from moderation.tables import Job

STATES = ("queued", "running", "done", "failed", "quarantined")
"""A job's states. `failed`: the image was refused, and would be again. `quarantined`: for a person to look at."""

ENDED = ("done", "failed", "quarantined")

LANES = ("interactive", "bulk")
"""Somebody waits for the first; the second takes what the first leaves."""


GRACE = 30
"""Seconds that a scan has to end once it was told that its time is over; then its process is killed."""


LONGEST_WAIT = timedelta(hours=2)
"""Longer than a job ever waits for its next attempt."""


@dataclass(frozen=True)
class Order:
    """A scan to be done later. source: an address to fetch, '' where `data` are the bytes. line: of a manifest, from 1."""

    data: bytes = b""
    source: str = ""
    name: str | None = None
    content_type: str | None = None
    context: HostContext = field(default_factory=HostContext)
    policy: str = ""
    line: int | None = None
    reach: int = 0
    consent: bool = False

    def what(self) -> dict[str, Any]:
        """What is kept of it beside the bytes and the address."""
        return {
            "name": self.name,
            "content_type": self.content_type,
            "context": self.context.as_mapping(),
            "reach": self.reach,
            "consent": self.consent,
        }


@dataclass(frozen=True)
class BadRow:
    """A line of a manifest that cannot be read, and why."""

    line: int
    error: str


@dataclass(frozen=True)
class Claim:
    """A job that is this worker's until the lease ends. holder: unlike that of any other attempt."""

    job: Job
    holder: str


def is_due(run_at: datetime, now: datetime) -> bool:
    """Whether a queued job may begin. A moment that is further ahead than a job ever waits is of a clock that jumped."""
    return run_at <= now or run_at > now + LONGEST_WAIT


class LeaseLostError(ModerationError):
    """Another worker has the job by now, or it has ended: what this one did is undone."""

    code = "lease_lost"
    status = 409
