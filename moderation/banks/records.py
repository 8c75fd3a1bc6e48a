"""What banks are made of, checked."""

import binascii
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from detectors.known import ACTIONS, CATEGORIES
from detectors.signals import KINDS, SIZES
from moderation.errors import InvalidRequestError
from moderation.tables import Bank, BankEntry, BankMatch

PDQ_RADIUS = 31
PHASH_RADIUS = 6
FLOOD_LIMIT = 200

LONGEST_NOTE = 2_000
LONGEST_EXTERNAL_ID = 200

ALIASES = {
    "hash_sha256": "sha256",
    "hash_md5": "md5",
    "hash_pdq": "pdq",
    "hash_phash": "phash",
    "sha-256": "sha256",
    "pdna_pdq": "pdq",
}
"""What other systems call the kinds."""


@dataclass(frozen=True)
class Signal:
    """A hash of an image. kind: one of `KINDS`; value: its bytes."""

    kind: str
    value: bytes

    @classmethod
    def parse(cls, kind: str, text: str) -> "Signal":
        """A signal from its kind, also as other systems call it, and hex digits in either case. Raises InvalidRequestError."""
        name = kind.strip().lower()
        name = ALIASES.get(name, name)
        if name not in KINDS:
            raise InvalidRequestError(f"{kind[:40]!r} is not a kind of signal.", hint=f"Kinds are {', '.join(KINDS)}.")
        digits = text.strip()
        try:
            value = binascii.unhexlify(digits)
        except (binascii.Error, ValueError):
            raise InvalidRequestError(
                f"{digits[:80]!r} is not hex digits.", hint=f"A {name} is {2 * SIZES[name]} digits 0-9 and a-f."
            ) from None
        if len(value) != SIZES[name]:
            raise InvalidRequestError(
                f"{digits[:80]!r} has {len(digits)} digits; a {name} has {2 * SIZES[name]}.",
                hint="Send the whole hash.",
            )
        return cls(name, value)

    @property
    def hex(self) -> str:
        return self.value.hex()


@dataclass(frozen=True)
class NewEntry:
    """A signal that is to be added. external_id: the record at the list it comes from, '' for one's own."""

    signal: Signal
    external_id: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name, limit in (("external_id", LONGEST_EXTERNAL_ID), ("note", LONGEST_NOTE)):
            value = getattr(self, name)
            if len(value) > limit or "\0" in value:
                raise InvalidRequestError(
                    f"{name} has {len(value):,} characters, or a zero byte; at most {limit:,} are kept.",
                    hint="Shorten it.",
                )


@dataclass(frozen=True)
class BankSpec:
    """What a bank is, as whoever makes it says. Checked when made: raises InvalidRequestError.

    radius, phash_radius: bits by which perceptual hashes may differ. enabled_share: of images that matches apply to.
    flood_limit: images that one entry may newly match in a day before it may be quarantined, 0 for no limit.
    """

    name: str
    negative: bool = False
    origin: str = "own"
    category: str = "other"
    action_hint: str = "hold"
    radius: int = PDQ_RADIUS
    phash_radius: int = PHASH_RADIUS
    enabled_share: float = 1.0
    flood_limit: int = FLOOD_LIMIT
    note: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", self.name):
            raise InvalidRequestError(
                f"{self.name[:100]!r} is not a bank's name.",
                hint="Use up to 100 lower-case letters, digits, `_`, `.` and `-`.",
            )
        for name, value, choices in (
            ("category", self.category, CATEGORIES),
            ("action_hint", self.action_hint, ACTIONS),
        ):
            if value not in choices:
                raise InvalidRequestError(f"{name} is {value[:40]!r}.", hint=f"It is one of {', '.join(choices)}.")
        for name, number, low, high in (
            ("radius", self.radius, 0, PDQ_RADIUS),
            ("phash_radius", self.phash_radius, 0, 12),
            ("enabled_share", self.enabled_share, 0.0, 1.0),
            ("flood_limit", self.flood_limit, 0, 1_000_000_000),
        ):
            if not low <= number <= high:  # also refuses what is not a number
                raise InvalidRequestError(f"{name} is {number}.", hint=f"It lies in {low} to {high:,}.")
        if len(self.origin) > 200 or len(self.note) > LONGEST_NOTE:
            raise InvalidRequestError(
                "origin or note is too long.", hint=f"At most 200 and {LONGEST_NOTE:,} characters are kept."
            )

    @classmethod
    def of(cls, bank: Bank) -> "BankSpec":
        return cls(**{name: getattr(bank, name) for name in cls.__dataclass_fields__})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class BankCount:
    """A bank, and how many entries it has: by kind, and of them quarantined."""

    bank: Bank
    entries: dict[str, int]
    quarantined: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.bank.id,
            **BankSpec.of(self.bank).as_dict(),
            "created_at": self.bank.created_at.isoformat(),
            "entries": self.entries,
            "quarantined": self.quarantined,
        }


@dataclass(frozen=True)
class LoadReport:
    """What became of a list: rows that were new, there already, or malformed (each with its line and reason)."""

    added: int
    present: int
    refused: int
    problems: tuple[tuple[int, str], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "added": self.added,
            "present": self.present,
            "refused": self.refused,
            "problems": [{"line": line, "reason": reason} for line, reason in self.problems],
        }


def entry_state(entry: BankEntry, now: datetime) -> str:
    """`active`, `disabled` or `quarantined`."""
    if entry.quarantined_at:
        return "quarantined"
    return "disabled" if entry.disabled_until and entry.disabled_until > now else "active"


def entry_as_dict(entry: BankEntry, now: datetime) -> dict[str, Any]:
    """An entry as JSON values, the same on every door."""
    return {
        "id": entry.id,
        "kind": entry.kind,
        "value": entry.value.hex(),
        "external_id": entry.external_id,
        "note": entry.note,
        "state": entry_state(entry, now),
        "disabled_until": entry.disabled_until.isoformat() if entry.disabled_until else None,
        "quarantined_at": entry.quarantined_at.isoformat() if entry.quarantined_at else None,
        "created_at": entry.created_at.isoformat(),
    }


def match_as_dict(match: BankMatch) -> dict[str, Any]:
    """A match as JSON values, the same on every door."""
    names = ("id", "entry_id", "image_id", "scan_id", "kind", "distance", "unapplied", "times")
    values = {name: getattr(match, name) for name in names}
    return {**values, "first_at": match.created_at.isoformat(), "last_at": match.last_at.isoformat()}
