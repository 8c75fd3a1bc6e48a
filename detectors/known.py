"""Images that are known already: matches of an image's signals with banks of signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image
from detectors.runtime import Runtime
from detectors.signals import KINDS

ACTIONS = ("label", "restrict", "hold", "block")

CATEGORIES = ("intimate", "child_abuse", "terrorism", "spam", "other")

UNAPPLIED = ("negative", "quarantine", "share")


@dataclass(frozen=True)
class KnownMatch:
    """An entry of a bank that an image's signals match.

    distance: bits that differ, 0 for digests. unapplied: '' or why it is not applied (one of `UNAPPLIED`).
    orientation: 0 upright, else the number of the turned or mirrored copy that matched. frame: its number, None for stills.
    """

    entry: int
    bank: str
    bank_id: str
    kind: str
    distance: int
    category: str
    action_hint: str
    unapplied: str = ""
    orientation: int = 0
    frame: int | None = None


class KnownSource(Protocol):
    """Where matches come from."""

    def matches(self, tenant: str, signals: Sequence[Finding]) -> list[KnownMatch] | None:
        """The best match of each bank, the gravest first, given the findings of `signals`. None where there are no banks."""


FIELDS = {
    "bank": Field("string", "The bank's name."),
    "category": Field("string", "What the bank lists.", CATEGORIES),
    "kind": Field("string", "Which signal matched.", KINDS),
    "distance": Field("int", "Bits in which the hashes differ, 0 for digests."),
    "banks": Field("list", "Names of all the banks that matched."),
    "categories": Field("list", "Categories of all the banks that matched."),
}


class KnownDetector(Detector):
    """Matches with the host's banks: the best one of each bank.

    Looks up the signals of `signals` in the banks that `attach` gave; holds no model. It is looked up again whenever the
    same image is judged again, so that a verdict never rests on an old list.
    """

    name = "known"
    cost_ms = 2.0
    needs = ("signals",)
    looks_up = True
    labels = (
        Label(
            "known",
            "The image is in a bank of known images.",
            fields={
                **FIELDS,
                "action_hint": Field("string", "What the bank suggests.", ACTIONS),
            },
        ),
        Label(
            "known_unapplied",
            "The image is in a bank, and the match is not applied.",
            fields={
                **FIELDS,
                "why": Field(
                    "string",
                    "Why: a negative bank has it too, the entry is in quarantine since it matched too much, or the bank is "
                    "enabled for a share of images only.",
                    UNAPPLIED,
                ),
            },
        ),
    )

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._source: KnownSource | None = None

    def attach(self, source: KnownSource) -> None:
        """Look up in the banks of this source from now on."""
        self._source = source

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        if "signals" not in image.features:
            return self.did_not_measure("skipped", "signals were not taken")
        return self.look_up(image.features["signals"], image.features.get("tenant", "default"))

    def look_up(self, findings: Sequence[Finding], tenant: str) -> list[Finding]:
        matches = self._source.matches(tenant, findings) if self._source else None
        if matches is None:
            return self.did_not_measure("skipped", "no banks")
        applied = [match for match in matches if not match.unapplied]
        others = [match for match in matches if match.unapplied]
        return [self._finding(match, among) for among in (applied, others) for match in among]

    def _finding(self, match: KnownMatch, among: Sequence[KnownMatch]) -> Finding:
        evidence = {
            "bank": match.bank,
            "bank_id": match.bank_id,
            "entry": match.entry,
            "category": match.category,
            "kind": match.kind,
            "distance": match.distance,
            "orientation": match.orientation,
            "banks": sorted({other.bank for other in among}),
            "categories": sorted({other.category for other in among}),
        }
        if match.unapplied:
            return self.finding("known_unapplied", frame=match.frame, evidence={**evidence, "why": match.unapplied})
        return self.finding("known", frame=match.frame, evidence={**evidence, "action_hint": match.action_hint})
