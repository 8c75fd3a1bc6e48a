"""Where a case stands in its queue, and why.

Everything is counted in hours, so that the order never changes by itself: a case that is due sooner goes first, and what is
grave, widely seen or uncertain goes first as if it were due so many hours sooner.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from moderation.tables import ReviewCase

SEVERITY_HOURS = 3.0
"""For every step of severity above 1."""

REACH_HOURS = 1.0
"""For every doubling of the reach, up to `MOST_REACH_HOURS`."""

MOST_REACH_HOURS = 12.0

UNCERTAIN_HOURS = 2.0
"""For a case that the measurements say nothing about."""

POLICY_HOURS = 4.0
"""For a rule's priority of 100; a priority of 0 counts as much against it."""


@dataclass(frozen=True)
class Factor:
    """points: hours, more of them go first. words: for people."""

    factor: str
    points: float
    words: str


def rank_of(case: ReviewCase) -> float:
    """The place in the queue, the lowest first: the hour at which the case is due, less what moves it ahead."""
    return case.due_at.timestamp() / 3600 - sum(factor.points for factor in _ahead(case))


def explained(case: ReviewCase, now: datetime) -> list[Factor]:
    """Why the case stands where it stands: factors whose points add up to its priority, the greatest of which goes first."""
    left = (case.due_at - now).total_seconds() / 3600
    words = f"due in {_hours(left)}" if left >= 0 else f"overdue by {_hours(-left)}"
    return [Factor("due", round(-left, 2), words), *_ahead(case)]


def _ahead(case: ReviewCase) -> list[Factor]:
    reach = min(MOST_REACH_HOURS, REACH_HOURS * math.log2(1 + case.reach))
    return [
        Factor("severity", SEVERITY_HOURS * (case.severity - 1), f"severity {case.severity} of 5"),
        Factor("reach", round(reach, 2), _reach_words(case.reach)),
        Factor("uncertainty", round(UNCERTAIN_HOURS * case.uncertainty, 2), f"uncertainty {case.uncertainty:.0%}"),
        Factor("policy", round(POLICY_HOURS * (case.weight - 50) / 50, 2), f"the policy's priority {case.weight}"),
    ]


def _hours(hours: float) -> str:
    return (
        f"{hours * 60:.0f} minutes" if hours < 1 else f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
    )


def _reach_words(reach: int) -> str:
    if not reach:
        return "reach not known"
    return "seen or sent once" if reach == 1 else f"seen or sent {reach:,} times"
