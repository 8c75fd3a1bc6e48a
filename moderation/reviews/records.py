"""What cases and decisions may be, and what is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from moderation.errors import ConflictError, ForbiddenError, InvalidRequestError
from moderation.policy.verdict import worst
from moderation.roles import Person, Role
from moderation.settings import Settings
from moderation.tables import Appeal, CaseImage, Decision, ReviewCase

STATES = {
    "open": "Waits for a person.",
    "second": "One person decided; another decides without knowing what.",
    "decided": "Decided, and may be undone for a moment; the host is not told yet.",
    "closed": "The host was told.",
}

STATE_NAMES = tuple(STATES)

WAITING = ("open", "second")

OUTCOMES = {
    "uphold": "The machine was right: its action stands, and what was held is blocked.",
    "block": "The image is not shown, whatever the machine said.",
    "restrict": "The image is shown behind a warning.",
    "overturn": "The machine was wrong: the image is shown.",
    "escalate": "A senior reviewer decides.",
}

OUTCOME_NAMES = tuple(OUTCOMES)

ANSWERS = ("uphold", "block", "restrict", "overturn")
"""Outcomes that end a case."""

REVIEWERS = (Role.REVIEWER, Role.SENIOR)
LEADS = (Role.LEAD, Role.ADMIN)

MOST_TEXT = 2_000
MOST_CLAUSE = 200


class LateDecisionError(ConflictError):
    """A decision under a lease that is over. It is kept as `decision`, and offered again with the case."""

    code = "decision_late"

    def __init__(self, message: str, decision: Decision, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.decision = decision


@dataclass(frozen=True)
class Choice:
    """What a person decides. clause: of the policy, needed to uphold, block or restrict. reason: needed
    otherwise.

    Raises InvalidRequestError.
    """

    outcome: str
    clause: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise InvalidRequestError(
                f"{self.outcome[:40]!r} is not an outcome.", hint=f"Outcomes are {', '.join(OUTCOMES)}."
            )
        check_text("clause", self.clause, MOST_CLAUSE)
        check_text("reason", self.reason, MOST_TEXT)
        needed = "reason" if self.outcome in ("overturn", "escalate") else "clause"
        if not getattr(self, needed).strip():
            raise InvalidRequestError(
                f"To {self.outcome} needs a {needed}.", hint="Nobody is decided on without being told why."
            )


@dataclass(frozen=True)
class ReviewRules:
    """The settings that the queue goes by."""

    hours: tuple[float, ...]
    appeal_hours: float
    lease: timedelta
    undo: timedelta
    skip: timedelta
    sample: float
    exposures: int
    rest: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "ReviewRules":
        return cls(
            hours=settings.review_hours,
            appeal_hours=settings.review_appeal_hours,
            lease=timedelta(seconds=settings.review_lease_seconds),
            undo=timedelta(seconds=settings.review_undo_seconds),
            skip=timedelta(minutes=settings.review_skip_minutes),
            sample=settings.review_second_share,
            exposures=settings.review_exposures,
            rest=timedelta(minutes=settings.review_rest_minutes),
        )

    def due(self, severity: int, now: datetime) -> datetime:
        """When a case of a severity from 1 to 5 is due."""
        return now + timedelta(hours=self.hours[severity - 1])


@dataclass(frozen=True)
class Claim:
    """A case that somebody holds. offers: late decisions on it, to be taken up by one word."""

    case: ReviewCase
    images: Sequence[CaseImage]
    offers: Sequence[Decision]


@dataclass(frozen=True)
class CaseView:
    """All that is kept of a case. appeal: the one that it is about; statement: what it says, None where it cannot be read."""

    case: ReviewCase
    images: Sequence[CaseImage]
    decisions: Sequence[Decision]
    offers: Sequence[Decision]
    appeal: Appeal | None
    earlier: Sequence[Mapping[str, Any]]
    statement: str | None = None


@dataclass(frozen=True)
class Waiting:
    """What waits in a queue: how many cases, since when the first, and when the next is due."""

    queue: str
    cases: int
    since: datetime
    due: datetime


def holds(person: Person, case: ReviewCase, token: int, now: datetime) -> bool:
    """Whether somebody holds a case under this token, now."""
    valid = case.lease_until is not None and case.lease_until > now
    return valid and case.holder == person.id and case.token == token


def effect_of(outcome: str, actions: Sequence[str]) -> str:
    """What an outcome means for images on which the machine's actions were these: one action, '' for `escalate`."""
    if outcome == "uphold":
        return worst(["block" if action == "hold" else action for action in actions])  # type: ignore[misc]
    return {"block": "block", "restrict": "restrict", "overturn": "allow", "escalate": ""}[outcome]


def check_text(name: str, value: str, limit: int) -> None:
    """Raises InvalidRequestError where a text is too long, or holds what no text holds."""
    if len(value) > limit or "\0" in value:
        raise InvalidRequestError(
            f"{name} has {len(value):,} characters; at most {limit:,} are taken, none of them NUL.", hint="Shorten it."
        )


def need_text(name: str, value: str) -> str:
    """Raises InvalidRequestError where it is missing."""
    check_text(name, value, MOST_TEXT)
    if not value.strip():
        raise InvalidRequestError(f"The {name} is missing.", hint="Say why.")
    return value.strip()


def must_have(person: Person, *roles: Role) -> None:
    """Raises ForbiddenError where the person has none of the roles."""
    if not person.has(*roles):
        raise ForbiddenError(
            f"{person.name} has the roles {', '.join(sorted(person.roles)) or 'none'}; "
            f"this takes {' or '.join(sorted(roles))}.",
            hint="Roles are given by an administrator.",
        )


def may_see(person: Person, case: ReviewCase) -> bool:
    """Whether somebody may be told of a case at all."""
    if person.has(*LEADS, Role.AUDITOR) and not (case.tier == "senior" and case.severity == 5):
        return True
    return may_work(person, case)


def may_work(person: Person, case: ReviewCase) -> bool:
    """Whether somebody may decide on a case, as far as roles and queues say."""
    return person.works(case.queue) and person.has(*(REVIEWERS if case.tier == "reviewer" else (Role.SENIOR,)))


def must_work(person: Person, case: ReviewCase) -> None:
    """Raises ForbiddenError where somebody may not decide on a case."""
    must_have(person, *REVIEWERS)
    if case.tier == "senior":
        must_have(person, Role.SENIOR)
    if not person.works(case.queue):
        raise ForbiddenError(
            f"{person.name} does not work the queue {case.queue!r}.", hint="Queues are given by an administrator."
        )
