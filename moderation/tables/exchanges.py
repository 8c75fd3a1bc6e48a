"""Signal exchanges that banks are filled from."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class Exchange(TenantMixin, CreatedMixin, Base):
    """A peer whose signals a bank of its own follows.

    kind: `ncmec`, `stopncii`, `threatexchange` or `file`. config: what the peer is told, without secrets: those are in the
    environment. checkpoint: where to go on. listing: number of the full listing that is under way or was last; entries of
    an older one are withdrawn when it is done. every_seconds: how often it is synchronised by itself, 0 for never.
    leased_until: while one process works on it. error: why the last run ended early.
    """

    __tablename__ = "exchanges"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("exch"))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(20))
    config: Mapped[dict[str, Any]]
    bank_id: Mapped[str] = mapped_column(ForeignKey("banks.id"))
    checkpoint: Mapped[str | None] = mapped_column(Text)
    listing: Mapped[int] = mapped_column(default=1)
    relisting: Mapped[bool] = mapped_column(default=False)
    every_seconds: Mapped[int] = mapped_column(default=0)
    leased_until: Mapped[datetime | None]
    synced_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")
