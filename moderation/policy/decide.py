"""Policies: from findings to a verdict. Deterministic, and sure of what it says: nothing is decided by absence."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from detectors.base import Finding
from moderation.policy.document import Choice
from moderation.policy.evidence import Evidence, gather
from moderation.policy.rules import Rule
from moderation.policy.verdict import RANK, Reason, Undecided, Verdict, worst
from moderation.policy.vocabulary import Vocabulary

Cause = Literal["on_error", "on_skipped"]


@dataclass(frozen=True)
class Pass:
    """Rules judged in order: those that fired, those that are undecided with the error of each, '' for lack of a value."""

    fired: tuple[Rule, ...]
    undecided: tuple[tuple[Rule, str], ...]

    @property
    def rank(self) -> int:
        """Rank of the most severe action that fired."""
        return max((rule.rank for rule in self.fired), default=0)

    @property
    def stopped(self) -> bool:
        """Whether a final rule ended the pass."""
        return bool(self.fired) and self.fired[-1].final


@dataclass(frozen=True)
class Policy:
    """A policy that was checked on loading. Immutable, and safe to share between threads.

    digest: SHA-256 of everything in it that bears on verdicts; comments and examples do not.
    """

    name: str
    version: int
    description: str
    keep: Literal["none", "held", "all"]
    on_error: Choice
    on_skipped: Choice
    undecided_queue: str
    cascade: Literal["full", "needed"]
    rules: tuple[Rule, ...]
    digest: str
    vocabulary: Vocabulary
    file: str

    @property
    def needs(self) -> frozenset[str]:
        """The detectors whose labels its rules mention."""
        return frozenset(detector for rule in self.rules for detector in rule.detectors)

    def evidence(
        self,
        findings: Sequence[Finding],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: Collection[str] | None = None,
    ) -> Evidence:
        """What its conditions read of an image. `ran`: the detectors that have run, None where all have."""
        names = {name: None for rule in self.rules for condition in rule.conditions for name, _ in condition.chains}
        return gather(self.vocabulary, names, findings, context, image, ran=ran)

    def judge(self, evidence: Evidence) -> Pass:
        """Judge the rules in order, up to the first final one that fires."""
        fired: list[Rule] = []
        undecided: list[tuple[Rule, str]] = []
        for rule in self.rules:
            truth = rule.truth(evidence)
            if truth.value is None:
                undecided.append((rule, truth.error))
            if truth.value:
                fired.append(rule)
                if rule.final:
                    break
        return Pass(tuple(fired), tuple(undecided))

    def decide(self, findings: Sequence[Finding], context: Mapping[str, str], image: Mapping[str, Any]) -> Verdict:
        """The verdict on one image.

        findings: of every detector, those that did not run as `skipped` or `failed`; a label without any was looked
            for and not found. context: what the host said. image: `width`, `height`, `frames`, `bytes`, `format`.
        """
        evidence = self.evidence(findings, context, image)
        judged = self.judge(evidence)
        undecided = [self._undecided(rule, error, judged, evidence) for rule, error in judged.undecided]
        reasons = [rule.fired(evidence) for rule in judged.fired]
        reasons += self._held_for_lack(judged, undecided)
        reasons.sort(key=lambda reason: (-RANK[reason.action], -reason.priority))
        return Verdict(
            worst([reason.action for reason in reasons]),
            tuple(reasons),
            tuple(entry for entry, _ in undecided),
            self.name,
            self.version,
            self.digest,
        )

    def _undecided(
        self, rule: Rule, error: str, judged: Pass, evidence: Evidence
    ) -> tuple[Undecided, frozenset[Cause]]:
        """What is said of an undecided rule, and what holds the image because of it.

        It matters where the rule would do more than label, and more than the rules that fired.
        """
        missing = rule.missing(evidence)
        why = "; ".join([*(str(entry) for entry in missing), *([error] if error else [])])
        causes: set[Cause] = set()
        if rule.rank > max(judged.rank, RANK["label"]):
            failed = bool(error) or any(entry.status == "failed" for entry in missing)
            if failed and self.on_error == "hold":
                causes.add("on_error")
            if self.on_skipped == "hold" and any(entry.status == "skipped" for entry in missing):
                causes.add("on_skipped")
        detectors = tuple(entry.detector for entry in missing)
        return Undecided(rule.name, detectors, why, "hold" if causes else "none"), frozenset(causes)

    def _held_for_lack(
        self,
        judged: Pass,
        undecided: Sequence[tuple[Undecided, frozenset[Cause]]],
    ) -> list[Reason]:
        reasons = []
        causes: tuple[Cause, ...] = ("on_error", "on_skipped")
        for cause in causes:
            held = [
                (rule, entry)
                for (rule, _), (entry, why) in zip(judged.undecided, undecided, strict=True)
                if cause in why
            ]
            if not held:
                continue
            rules = ", ".join(f"`{rule.name}`" for rule, _ in held)
            why = "; ".join(dict.fromkeys(entry.why for _, entry in held))
            reasons.append(
                Reason(
                    cause,
                    "hold",
                    f"A check could not be completed, so a person looks at it: {why}. Undecided: {rules}.",
                    self.undecided_queue,
                    max(rule.priority for rule, _ in held),
                    (),
                )
            )
        return reasons

    def still_needed(
        self,
        findings: Sequence[Finding],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: Collection[str] | None = None,
    ) -> frozenset[str]:
        """The detectors that have not run and could still change the verdict: raise it, or end it by a final rule.

        ran: the detectors that have run; None for those that `findings` are from. A detector that ran and found
        nothing leaves no findings: name it in `ran`, or it counts as one that is to come.
        """
        evidence = self._so_far(findings, context, image, ran)
        judged = self.judge(evidence)
        return frozenset(
            entry.detector
            for rule, _ in judged.undecided
            if rule.rank > judged.rank or rule.final
            for entry in rule.missing(evidence)
            if entry.status == "pending"
        )

    def stopped(
        self,
        findings: Sequence[Finding],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: Collection[str] | None = None,
    ) -> bool:
        """Whether a final rule has fired and no detector that is to come matters to the rules above it."""
        if not any(rule.final for rule in self.rules):
            return False
        if not self.judge(self._so_far(findings, context, image, ran)).stopped:
            return False
        return not self.still_needed(findings, context, image, ran)

    def _so_far(
        self,
        findings: Sequence[Finding],
        context: Mapping[str, str],
        image: Mapping[str, Any],
        ran: Collection[str] | None,
    ) -> Evidence:
        return self.evidence(
            findings, context, image, {finding.detector for finding in findings} if ran is None else ran
        )
