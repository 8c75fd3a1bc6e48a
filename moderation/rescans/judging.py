"""Judges postings anew from what is known of them, and says which of them are judged otherwise than before."""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import from_json

from detectors.base import Finding
from moderation.errors import ModerationError
from moderation.policy import Policy, PolicyLibrary, Verdict
from moderation.policy.grouping import Grouping
from moderation.rescans.lookup import PageLookup
from moderation.rescans.probes import Page, pack
from moderation.rescans.records import Posting
from moderation.scanner import SPARED, Scanner

MOST_GROUPS = 100_000
"""Groups of images whose judgement is remembered."""

Stored = dict[str, Any]


class Brief(NamedTuple):
    """A judgement, as far as it is compared: the action, and the rules behind it. lacking: detectors that a cascade left out
    and that this policy needs, '' for none."""

    action: str
    rules: tuple[str, ...]
    lacking: str = ""


@dataclass(frozen=True)
class Anew:
    """What is now known of a posting's image, of which some was measured anew.

    findings: all of them, lists' aside. models, plan: of the measurement that keeps them. image: columns of the image's row
    that the new measurement fills, None where the image was not opened. keep: whether it is kept though the verdict stays.
    """

    image_id: str
    findings: tuple[Finding, ...]
    models: str
    plan: str
    image: Mapping[str, Any] | None = None
    keep: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What the measurement is known by."""
        return self.image_id, self.models, self.plan


@dataclass(frozen=True)
class Change:
    """A posting that is judged otherwise. findings: all that the verdict rests on, as they are stored; lookups: those of
    lists. before: the rules that fired then."""

    posting: Posting
    verdict: Verdict
    findings: Sequence[Finding]
    lookups: Sequence[Finding]
    before: tuple[str, ...]

    @property
    def acts(self) -> bool:
        """Whether the action is another."""
        return self.verdict.action != self.posting.action

    def as_dict(self) -> dict[str, Any]:
        """As events say it."""
        return {
            "image": self.posting.sha256,
            "external_id": self.posting.external_id,
            "surface": self.posting.surface,
            "from": self.posting.action,
            "to": self.verdict.action,
            "rules": [reason.rule for reason in self.verdict.reasons],
            "previous": self.posting.scan_id,
        }


@dataclass(frozen=True)
class Failed:
    """A posting that could not be judged. again: whether it is worth another try."""

    scan_id: str
    code: str
    message: str
    again: bool = False


Outcome = Change | Failed | None
"""None: judged, and as before."""


class Judge:
    """Judges pages of postings. Remembers the judgement of each group of images that its policy cannot tell apart."""

    def __init__(self, scanner: Scanner, policies: PolicyLibrary, lookup: PageLookup) -> None:
        self.scanner = scanner
        self.policies = policies
        self.lookup = lookup
        self.lists = scanner.lists
        self._groupings: dict[str, Grouping] = {}
        self._known: dict[Hashable, Brief] = {}

    def policy(self, name: str) -> Policy:
        """The policy of this name, also the default one where it is a file. Raises NotFoundError, PolicyError."""
        default = self.policies.get("")
        return default if name in ("", default.name) else self.policies.get(name)

    def grouping(self, policy: Policy) -> Grouping:
        known = self._groupings.get(policy.digest)
        if known is None:
            known = self._groupings[policy.digest] = Grouping(policy)
        return known

    def judge(
        self, tenant: str, postings: Sequence[Posting], *, policy: str = "", anew: Mapping[str, Anew] | None = None
    ) -> list[Outcome]:
        """What becomes of each posting. policy: judge all by this one. anew: by scan, what was measured anew."""
        known = anew or {}
        packed = [_packed(posting, known.get(posting.scan_id)) for posting in postings]
        page = Page.of([posting.sha256 for posting in postings], packed)
        looked_up = self.lookup.look_up(
            tenant, page, lambda i: _of_signals(_stored(postings[i], known.get(postings[i].scan_id)))
        )
        outcomes: list[Outcome] = []
        for posting, probes, lists in zip(postings, packed, looked_up, strict=True):
            try:
                rules = self.policy(policy or posting.policy)
            except ModerationError as error:
                outcomes.append(Failed(posting.scan_id, error.error_code, error.message))
                continue
            stored = _stored(posting, known.get(posting.scan_id))
            if probes:  # without signals nothing can be looked up
                stored = [f for f in stored if f["detector"] not in self.lists] + [f.as_dict() for f in lists]
            outcomes.append(self._judge(rules, posting, stored))
        return outcomes

    def _judge(self, policy: Policy, posting: Posting, stored: Sequence[Stored]) -> Outcome:
        brief = self._brief(self.grouping(policy), posting, stored)
        if brief.lacking:
            return Failed(
                posting.scan_id,
                "not_measured",
                f"The policy {policy.name!r} needs {brief.lacking}, which did not run on this image. Give the plan a source.",
            )
        before = rules_of(posting.verdict)
        if brief.action == posting.action and brief.rules == before:
            return None
        findings = [Finding.from_dict(values) for values in stored]
        verdict = policy.decide(findings, posting.context, posting.facts)
        lookups = [finding for finding in findings if finding.detector in self.lists]
        return Change(posting, verdict, findings, lookups, before)

    def _brief(self, grouping: Grouping, posting: Posting, stored: Sequence[Stored]) -> Brief:
        spared = {f["detector"] for f in stored if f["reason"] in SPARED}
        seen = [f for f in stored if f["detector"] not in spared] if spared else stored
        ran = frozenset(cls.name for cls in self.scanner.classes if cls.name not in spared) if spared else None
        context, facts = posting.context, posting.facts
        key = (grouping.policy.digest, ran, grouping.group(seen, context, facts, ran))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_GROUPS:
                self._known.clear()
            known = self._known[key] = _brief(grouping.policy, posting, stored, seen, ran)
        return known


def _brief(
    policy: Policy, posting: Posting, stored: Sequence[Stored], seen: Sequence[Stored], ran: frozenset[str] | None
) -> Brief:
    """The judgement itself. seen: what detectors found that a cascade did not leave out; ran: those, None for all."""
    context, facts = posting.context, posting.facts
    lacking: frozenset[str] = frozenset()
    if ran is not None:
        lacking = policy.still_needed([Finding.from_dict(values) for values in seen], context, facts, ran)
    verdict = policy.decide([Finding.from_dict(values) for values in stored], context, facts)
    return Brief(verdict.action, tuple(reason.rule for reason in verdict.reasons), ", ".join(sorted(lacking)))


@lru_cache(maxsize=10_000)
def rules_of(verdict: str) -> tuple[str, ...]:
    """The rules behind a stored verdict, JSON as text: that of most images is the same."""
    return tuple(reason["rule"] for reason in from_json(verdict)["reasons"])


def _stored(posting: Posting, anew: Anew | None) -> list[Stored]:
    """What is known of an image. Parsed when it is needed, one at a time: a page of them would keep the garbage collector busy."""
    if anew:
        return [finding.as_dict() for finding in anew.findings]
    stored: list[Stored] = from_json(posting.findings)
    return stored


def _packed(posting: Posting, anew: Anew | None) -> bytes | None:
    return posting.probes or pack(_stored(posting, anew))


def _of_signals(stored: Sequence[Stored]) -> list[Finding]:
    return [Finding.from_dict(f) for f in stored if f["detector"] == "signals"]


def derived_models(models: str, described: Mapping[str, str]) -> str:
    """Digest for findings of which some were measured anew. described: those detectors, with version and weights."""
    return hashlib.sha256(json.dumps([models, dict(sorted(described.items()))]).encode()).hexdigest()
