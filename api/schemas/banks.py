"""What banks look like on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from detectors.known import ACTIONS, CATEGORIES
from detectors.signals import KINDS
from moderation.banks.matcher import Near
from moderation.banks.records import FLOOD_LIMIT, PDQ_RADIUS, PHASH_RADIUS, BankCount, entry_as_dict, match_as_dict
from moderation.tables import BankEntry, BankMatch, utc_now

Kind = Literal[KINDS]  # type: ignore[valid-type]
Category = Literal[CATEGORIES]  # type: ignore[valid-type]
ActionHint = Literal[ACTIONS]  # type: ignore[valid-type]

NAME = "[a-z0-9][a-z0-9_.-]{0,99}"

LARGEST_NUMBER = (1 << 63) - 1
"""Of an entry: what a database holds."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewBank(Strict):
    """A bank that is to be made."""

    name: str = Field(pattern=f"^{NAME}$", examples=["ncii"])
    negative: bool = Field(False, description="A bank of known false matches: it suppresses those of other banks.")
    origin: str = Field("own", max_length=200, description="Who the signals come from.")
    category: Category = "other"
    action_hint: ActionHint = Field("hold", description="What policies are suggested.")
    radius: int = Field(PDQ_RADIUS, ge=0, le=PDQ_RADIUS, description="Bits by which PDQ hashes may differ.")
    phash_radius: int = Field(PHASH_RADIUS, ge=0, le=12, description="Bits by which pHashes may differ.")
    enabled_share: float = Field(1.0, ge=0, le=1, description="Share of images that matches apply to.")
    flood_limit: int = Field(
        FLOOD_LIMIT,
        ge=0,
        le=1_000_000_000,
        description="Images that one entry may newly match in a day before it is quarantined; 0 for no limit.",
    )
    note: str = Field("", max_length=2_000)


class BankChanges(Strict):
    """What is to be changed of a bank; what is left away stays."""

    name: str | None = Field(None, pattern=f"^{NAME}$")
    origin: str | None = Field(None, max_length=200)
    category: Category | None = None
    action_hint: ActionHint | None = None
    radius: int | None = Field(None, ge=0, le=PDQ_RADIUS)
    phash_radius: int | None = Field(None, ge=0, le=12)
    enabled_share: float | None = Field(None, ge=0, le=1)
    flood_limit: int | None = Field(None, ge=0, le=1_000_000_000)
    note: str | None = Field(None, max_length=2_000)


class BankAnswer(NewBank):
    model_config = ConfigDict(extra="ignore")

    id: str
    created_at: datetime
    entries: Mapping[str, int] = Field(description="How many, by kind.")
    quarantined: int

    @classmethod
    def of(cls, bank: BankCount) -> "BankAnswer":
        return cls.model_validate(bank.as_dict())


class BanksAnswer(BaseModel):
    banks: list[BankAnswer]


class HashValue(Strict):
    """A hash: its kind, and its hex digits in either case."""

    kind: str = Field(max_length=40, examples=list(KINDS))
    value: str = Field(max_length=200, examples=["9f86d081" * 8])


class NewSignal(HashValue):
    external_id: str = Field("", max_length=200, description="The record at the list that it comes from.")
    note: str = Field("", max_length=2_000)


class NewSignals(Strict):
    signals: list[NewSignal] = Field(min_length=1, max_length=5_000)


class AddedAnswer(BaseModel):
    """What was added. unhashable: kinds that the image has none of, since it is too plain."""

    added: int
    present: int
    signals: list[HashValue] = []
    unhashable: list[str] = []


class EntryAnswer(BaseModel):
    id: int
    kind: str
    value: str
    external_id: str
    note: str
    state: Literal["active", "disabled", "quarantined"]
    disabled_until: datetime | None
    quarantined_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, entry: BankEntry) -> "EntryAnswer":
        return cls.model_validate(entry_as_dict(entry, utc_now()))


class EntriesAnswer(BaseModel):
    """A page of entries; `next` is the `after` of the page behind it, none at the end."""

    entries: list[EntryAnswer]
    next: int | None


class EntryChange(Strict):
    """What is to be changed of an entry: until when it does not match (null: it matches), or that it leaves quarantine."""

    disabled_until: AwareDatetime | None = None
    release: bool = Field(False, description="Let it match again that was quarantined since it flooded.")
    note: str = Field("", max_length=2_000)


class NearAnswer(BaseModel):
    bank: str
    negative: bool
    distance: int
    orientation: int = Field(description="0 upright, else the number of the turned or mirrored copy that matched.")
    entry: EntryAnswer

    @classmethod
    def of(cls, near: Near) -> "NearAnswer":
        return cls(
            bank=near.bank.name,
            negative=near.bank.negative,
            distance=near.distance,
            orientation=near.probe.orientation,
            entry=EntryAnswer.of(near.entry),
        )


class SearchAnswer(BaseModel):
    matches: list[NearAnswer]


class MatchAnswer(BaseModel):
    """An image that an entry matched; `unapplied` says why it did not count."""

    id: str
    entry_id: int
    image_id: str
    scan_id: str
    kind: str
    distance: int
    unapplied: str
    times: int
    first_at: datetime
    last_at: datetime

    @classmethod
    def of(cls, match: BankMatch) -> "MatchAnswer":
        return cls.model_validate(match_as_dict(match))


class MatchesAnswer(BaseModel):
    matches: list[MatchAnswer]


class Problem(BaseModel):
    line: int
    reason: str


class LoadAnswer(BaseModel):
    added: int
    present: int
    refused: int
    problems: list[Problem]
