"""Who may do what in the dashboard."""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a person of the host may do. A person may have several.

    reviewer: works queues. senior: decides what was escalated, and sees the gravest. lead: sees figures, assigns, sets
    queues. policy: drafts and back-tests policies. admin: accounts. auditor: reads everything that was done, changes nothing.
    """

    REVIEWER = "reviewer"
    SENIOR = "senior"
    LEAD = "lead"
    POLICY = "policy"
    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class Person:
    """Someone who is signed in. queues: those this person may work, None for all."""

    id: str
    tenant: str
    name: str
    roles: frozenset[Role] = field(default_factory=frozenset)
    queues: frozenset[str] | None = None

    def has(self, *roles: Role) -> bool:
        """Whether the person has one of the roles."""
        return not self.roles.isdisjoint(roles)

    def works(self, queue: str) -> bool:
        """Whether the person may work a queue."""
        return self.queues is None or queue in self.queues
