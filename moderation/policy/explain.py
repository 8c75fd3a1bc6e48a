"""How a policy came to its verdict, rule by rule and condition by condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from detectors.base import Finding
from moderation.policy.conditions import Condition
from moderation.policy.decide import Policy
from moderation.policy.evidence import Evidence
from moderation.policy.rules import Rule
from moderation.policy.verdict import Action, Verdict

Outcome = Literal["fired", "not fired", "undecided", "passed over"]


@dataclass(frozen=True, slots=True)
class ConditionExplanation:
    """A condition: whether it holds (None: undecided), what its members are (None: no value), and why it is undecided."""

    text: str
    value: bool | None
    members: Mapping[str, Any]
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {"text": self.text, "value": self.value, "members": dict(self.members), "why": self.why}


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """A rule, what became of it, and its conditions. `passed over`: a final rule above it fired."""

    rule: str
    action: Action
    outcome: Outcome
    conditions: tuple[ConditionExplanation, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "action": self.action,
            "outcome": self.outcome,
            "conditions": [condition.as_dict() for condition in self.conditions],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict, and every rule of the policy in order."""

    verdict: Verdict
    rules: tuple[RuleExplanation, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict.as_dict(), "rules": [rule.as_dict() for rule in self.rules]}


def explain(
    policy: Policy, findings: Sequence[Finding], context: Mapping[str, str], image: Mapping[str, Any]
) -> Explanation:
    """What each rule of the policy makes of an image; takes what `Policy.decide` takes."""
    evidence = policy.evidence(findings, context, image)
    explained: list[RuleExplanation] = []
    stopped = False
    for rule in policy.rules:
        outcome: Outcome = "passed over" if stopped else _outcome(rule, evidence)
        conditions = tuple(_condition(condition, evidence) for condition in rule.conditions)
        explained.append(RuleExplanation(rule.name, rule.action, outcome, conditions))
        stopped = stopped or (rule.final and outcome == "fired")
    return Explanation(policy.decide(findings, context, image), tuple(explained))


def _outcome(rule: Rule, evidence: Evidence) -> Outcome:
    value = rule.truth(evidence).value
    return "undecided" if value is None else "fired" if value else "not fired"


def _condition(condition: Condition, evidence: Evidence) -> ConditionExplanation:
    truth = condition.truth(evidence)
    missing = dict.fromkeys(str(evidence.missing[name]) for name, _ in condition.chains if name in evidence.missing)
    why = truth.error or "; ".join(missing) if truth.value is None else ""
    return ConditionExplanation(condition.text, truth.value, condition.values(evidence), why)
