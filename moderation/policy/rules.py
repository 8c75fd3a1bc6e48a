"""A rule, ready to be judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from detectors.base import Finding
from moderation.policy.conditions import Condition, Truth, conjunction
from moderation.policy.evidence import Evidence, Missing
from moderation.policy.verdict import RANK, Action, Reason


@dataclass(frozen=True)
class Rule:
    """One rule of a policy: where all conditions hold, the action follows. `labels` are those that it mentions."""

    name: str
    conditions: tuple[Condition, ...]
    action: Action
    queue: str | None
    priority: int
    reason: str
    final: bool
    labels: tuple[str, ...]
    detectors: frozenset[str]

    @property
    def rank(self) -> int:
        return RANK[self.action]

    def truth(self, evidence: Evidence) -> Truth:
        """Whether it fires. Undecided where a value is missing that could turn it either way."""
        truths: list[Truth] = []
        for condition in self.conditions:
            truths.append(condition.truth(evidence))
            if truths[-1].value is False:
                return truths[-1]
        return conjunction(truths)

    def fired(self, evidence: Evidence) -> Reason:
        """The reason that it gives when it fires, with the findings behind it."""
        findings: Sequence[Finding] = [finding for label in self.labels for finding in evidence.findings[label]]
        return Reason(self.name, self.action, self.reason, self.queue, self.priority, tuple(findings))

    def missing(self, evidence: Evidence) -> tuple[Missing, ...]:
        """What it mentions and has no value, each detector once."""
        found = {
            evidence.missing[label].detector: evidence.missing[label]
            for label in self.labels
            if label in evidence.missing
        }
        return tuple(found.values())
