"""What a policy says of an image: an action, and everything that speaks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from detectors.base import Finding

Action = Literal["allow", "label", "restrict", "hold", "block"]
Effect = Literal["none", "hold"]

ACTIONS: tuple[Action, ...] = get_args(Action)
"""Every action, the mildest first."""

RANK = {action: rank for rank, action in enumerate(ACTIONS)}


def worst(actions: Sequence[Action]) -> Action:
    """The most severe of the actions, `allow` where there is none."""
    return max(actions, key=RANK.__getitem__, default="allow")


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that fired. `findings` are those of the labels it mentions; `rule` is `on_error` or `on_skipped` where
    the action follows from what could not be decided."""

    rule: str
    action: Action
    reason: str
    queue: str | None
    priority: int
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "action": self.action,
            "reason": self.reason,
            "queue": self.queue,
            "priority": self.priority,
            "findings": [_behind(finding) for finding in self.findings],
        }


def _behind(finding: Finding) -> dict[str, Any]:
    values = finding.as_dict()
    return {name: values[name] for name in ("label", "detector", "score", "fpr", "frame", "region")}


@dataclass(frozen=True, slots=True)
class Undecided:
    """A rule that could be neither true nor false: the detectors it lacked, why, and what the policy made of it."""

    rule: str
    detectors: tuple[str, ...]
    why: str
    effect: Effect

    def as_dict(self) -> dict[str, Any]:
        return {"rule": self.rule, "detectors": list(self.detectors), "why": self.why, "effect": self.effect}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action, the reasons behind it (the most severe first), and what stayed undecided."""

    action: Action
    reasons: tuple[Reason, ...]
    undecided: tuple[Undecided, ...]
    policy_name: str
    policy_version: int
    policy_digest: str

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values, the same on every door."""
        return {
            "action": self.action,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "undecided": [undecided.as_dict() for undecided in self.undecided],
            "policy": {"name": self.policy_name, "version": self.policy_version, "digest": self.policy_digest},
        }
