"""What an image may do to somebody: from the findings behind a verdict to a harm, whatever policy judged it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moderation.policy.verdict import RANK


@dataclass(frozen=True)
class Harm:
    """severity: 1 to 5. queue: where its cases go when the policy names none. labels: findings that mean it.

    restricted: for seniors only, and never shown. two_eyes: effects that two people have to reach each by themselves. blur, grey,
    small: how an image is shown at first.
    """

    name: str
    severity: int
    queue: str
    words: str
    labels: frozenset[str] = frozenset()
    restricted: bool = False
    two_eyes: frozenset[str] = frozenset()
    blur: int = 0
    grey: bool = False
    small: bool = False


ALL = frozenset({"block", "restrict", "label", "allow"})
AGAINST = frozenset({"block"})

HARMS: Mapping[str, Harm] = {
    harm.name: harm
    for harm in (
        Harm(
            "child_abuse",
            5,
            "child-abuse",
            "known child sexual abuse material",
            restricted=True,
            two_eyes=ALL,
            blur=100,
            grey=True,
            small=True,
        ),
        Harm(
            "likeness",
            4,
            "likeness",
            "a protected person's likeness",
            frozenset({"likeness"}),
            two_eyes=AGAINST,
            blur=24,
            grey=True,
            small=True,
        ),
        Harm(
            "deepfake",
            4,
            "deepfakes",
            "a face that was put in",
            frozenset({"swap"}),
            two_eyes=AGAINST,
            blur=24,
            grey=True,
            small=True,
        ),
        Harm(
            "known",
            3,
            "known",
            "a picture on a list",
            frozenset({"known", "known_unapplied"}),
            blur=24,
            grey=True,
            small=True,
        ),
        Harm("adult", 2, "explicit", "explicit content", frozenset({"nsfw"}), blur=16, grey=True),
        Harm(
            "generated",
            1,
            "generated",
            "made or changed with AI",
            frozenset({"synthetic", "c2pa", "source_type", "generator", "software", "watermark"}),
            blur=8,
        ),
        Harm("general", 1, "general", "anything else", blur=16, grey=True),
    )
}
"""Every harm, the gravest first."""

APPEALS = "appeals"
UNDECIDED = "undecided"

QUEUES = (*(harm.queue for harm in HARMS.values()), UNDECIDED, APPEALS)
"""Queues that are always there. A policy's rules may name others: those are there once a case is in them."""

_OF_QUEUE = {harm.queue: harm.name for harm in HARMS.values()}


@dataclass(frozen=True)
class Cause:
    """Why a verdict needs a person: the harm, the queue, the policy's priority (0 to 100), and the labels behind it."""

    harm: Harm
    queue: str
    weight: int
    labels: tuple[str, ...]
    uncertainty: float


def cause_of(verdict: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> Cause | None:
    """Why a person has to look, None where nobody has to.

    Somebody has to where the verdict is `hold`; where a rule that fired names a queue; and where a likeness or a face that
    was put in was blocked, since that is never a machine's alone.
    """
    marked = [reason for reason in verdict["reasons"] if RANK[reason["action"]] >= RANK["hold"] or reason["queue"]]
    cause = _cause(verdict, marked, findings)
    asked = verdict["action"] == "hold" or any(reason["queue"] for reason in marked)
    return cause if asked or (verdict["action"] == "block" and cause.harm.two_eyes) else None


def cause_of_appeal(verdict: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> Cause:
    """What an appeal against a verdict is about: all rules that did more than to let it pass."""
    cause = _cause(verdict, [reason for reason in verdict["reasons"] if reason["action"] != "allow"], findings)
    return replace(cause, queue=APPEALS)


def _cause(
    verdict: Mapping[str, Any], marked: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> Cause:
    labels = sorted({found["label"] for reason in marked for found in reason["findings"]})
    harm = _gravest(marked, labels, findings)
    queue = next((reason["queue"] for reason in marked if reason["queue"]), None) or harm.queue
    weight = max((reason["priority"] for reason in marked), default=50)
    return Cause(harm, queue, weight, tuple(labels), _uncertainty(verdict, labels, findings))


def _gravest(marked: Sequence[Mapping[str, Any]], labels: Sequence[str], findings: Sequence[Mapping[str, Any]]) -> Harm:
    """The gravest harm of the labels, of the queues that rules name, and of the lists that matched."""
    named = {_OF_QUEUE[reason["queue"]] for reason in marked if reason["queue"] in _OF_QUEUE}
    for harm in HARMS.values():
        if harm.restricted and any(_lists(finding, harm.name) for finding in findings):
            return harm
        if harm.name in named or harm.labels & set(labels):
            return harm
    return HARMS["general"]


def _lists(finding: Mapping[str, Any], category: str) -> bool:
    evidence = finding["evidence"]
    categories = {evidence.get("category"), *evidence.get("categories", ())}
    return finding["label"] in ("known", "known_unapplied") and category in categories


def _uncertainty(verdict: Mapping[str, Any], labels: Sequence[str], findings: Sequence[Mapping[str, Any]]) -> float:
    """How unsure the measurements are, in [0, 1]: 1 where a check is missing, or where the surest score is 0.5."""
    if any(entry["effect"] == "hold" for entry in verdict["undecided"]):
        return 1.0
    scores = [
        found["score"]
        for found in findings
        if found["label"] in labels and found["status"] == "ok" and found["score"] is not None
    ]
    return round(1 - max((abs(2 * score - 1) for score in scores), default=1.0), 4)
