"""Tells workers that there is something to do. What is to be done is in the database; a ring that is lost costs time only."""

from typing import Protocol

from moderation.errors import ModerationError


class DoorbellError(ModerationError):
    """The broker does not take messages."""

    code = "broker_unavailable"
    status = 503


class Doorbell(Protocol):
    """What rings. can_ring: whether somebody would hear it: a broker, or a worker in this process."""

    @property
    def can_ring(self) -> bool: ...

    def ring(self, job_id: str, lane: str) -> None:
        """Tell workers of a job. Raises DoorbellError."""
