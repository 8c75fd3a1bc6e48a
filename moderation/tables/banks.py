"""Banks of known signals, and what matched them."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id

Number = BigInteger().with_variant(Integer, "sqlite")


class Bank(TenantMixin, CreatedMixin, Base):
    """A named list of signals.

    negative: matches of this bank suppress those of others. origin: who the signals come from. category, action_hint:
    what policies read. radius: bits that a PDQ match may differ; phash_radius: the same for pHash. enabled_share: share of
    images that matches are applied to, in [0, 1]. flood_limit: images that one entry may match in a day before it is
    quarantined, if that is far beyond its history; 0 for no limit.
    """

    __tablename__ = "banks"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("bank"))
    name: Mapped[str] = mapped_column(String(100))
    negative: Mapped[bool]
    origin: Mapped[str] = mapped_column(String(200))
    category: Mapped[str] = mapped_column(String(40))
    action_hint: Mapped[str] = mapped_column(String(16))
    radius: Mapped[int]
    phash_radius: Mapped[int]
    enabled_share: Mapped[float] = mapped_column(Float)
    flood_limit: Mapped[int]
    note: Mapped[str] = mapped_column(Text, default="")


class BankEntry(TenantMixin, CreatedMixin, Base):
    """One signal of a bank. Never changed in what it is: added or deleted, so that indexes follow by id alone.

    id: grows in the order of commits within a tenant, and is never used again. external_id: the record at the exchange or
    list that it came from, '' for one's own. disabled_until: does not match before then. quarantined_at: since when it
    does not match because it flooded, until a person releases it.
    """

    __tablename__ = "bank_entries"
    __table_args__ = (
        Index("uq_bank_entries_signal", "tenant_id", "kind", "value", "bank_id", "external_id", unique=True),
        Index("ix_bank_entries_kind_id", "tenant_id", "kind", "id"),
        Index("ix_bank_entries_bank", "bank_id", "external_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    bank_id: Mapped[str] = mapped_column(ForeignKey("banks.id"))
    kind: Mapped[str] = mapped_column(String(10))
    value: Mapped[bytes] = mapped_column(LargeBinary)
    external_id: Mapped[str] = mapped_column(String(200), default="")
    run: Mapped[int] = mapped_column(default=0)
    note: Mapped[str] = mapped_column(Text, default="")
    disabled_until: Mapped[datetime | None]
    quarantined_at: Mapped[datetime | None]


class BankState(TenantMixin, Base):
    """Counts a tenant's changes of entries, so that every process knows when to look. Locked by whoever adds.

    sequence: of changes. removed: entries that were deleted, ever.
    """

    __tablename__ = "bank_states"

    tenant_id: Mapped[str] = mapped_column(String(40), ForeignKey("tenants.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Number)
    removed: Mapped[int] = mapped_column(Number)


class BankMatch(TenantMixin, CreatedMixin, Base):
    """An image that an entry matched. bank_id and the entry's facts stay when the entry is deleted.

    applied: '' or why the match was not applied. times: scans of the image that matched; scan_id: the latest.
    """

    __tablename__ = "bank_matches"
    __table_args__ = (
        UniqueConstraint("entry_id", "image_id"),
        Index("ix_bank_matches_tenant_bank", "tenant_id", "bank_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("match"))
    entry_id: Mapped[int] = mapped_column(Number)
    bank_id: Mapped[str] = mapped_column(String(40))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    scan_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(10))
    distance: Mapped[int]
    unapplied: Mapped[str] = mapped_column(String(20))
    times: Mapped[int]
    last_at: Mapped[datetime]


class BankEntryDay(TenantMixin, Base):
    """How many images an entry matched on a day for the first time: its history, by which a flood is known."""

    __tablename__ = "bank_entry_days"

    entry_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    images: Mapped[int]
