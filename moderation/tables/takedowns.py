"""Takedown notices: what was asked, what was found, and how it ended."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class Notice(TenantMixin, CreatedMixin, Base):
    """A notice that somebody filed about images of themselves, or of whom they act for.

    state: see `takedowns.records.STATES`. reasons: codes of what is missing, or why it was refused. details: who files, how
    to reach them, the statement, the signature and the URLs: JSON, encrypted. contact_digest: knows the same contact again
    without naming it. token_digest: SHA-256 of the private link's token. flags: what a person should look at.
    warned: hours left at the last warning. swept_at: when hosted copies were searched, None until it is done.
    """

    __tablename__ = "notices"
    __table_args__ = (
        Index("ix_notices_tenant_state", "tenant_id", "state", "due_at"),
        Index("ix_notices_contact", "tenant_id", "contact_digest", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("notice"))
    state: Mapped[str] = mapped_column(String(16))
    reasons: Mapped[list[Any]]
    flags: Mapped[list[Any]]
    details: Mapped[bytes] = mapped_column(LargeBinary)
    contact_digest: Mapped[str] = mapped_column(String(64))
    token_digest: Mapped[str] = mapped_column(String(64), unique=True)
    duplicate_of: Mapped[str | None] = mapped_column(String(40))
    valid_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    warned: Mapped[int]
    decided_at: Mapped[datetime | None]
    swept_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class NoticeImage(TenantMixin, CreatedMixin, Base):
    """An image that a notice is about, by its hashes; the image itself is not kept.

    source: `upload`, `url` or `hash`. pdq: packed hashes of its frames where they are hashable, 32 bytes each.
    embedding: float16, 512 numbers, made by `embedding_model`.
    """

    __tablename__ = "notice_images"

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("nimg"))
    notice_id: Mapped[str] = mapped_column(ForeignKey("notices.id"), index=True)
    source: Mapped[str] = mapped_column(String(10))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    md5: Mapped[str] = mapped_column(String(32))
    pdq: Mapped[bytes] = mapped_column(LargeBinary)
    orientations: Mapped[bytes] = mapped_column(LargeBinary)
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    embedding_model: Mapped[str | None] = mapped_column(String(100))


class NoticeCopy(TenantMixin, CreatedMixin, Base):
    """A hosted image that a sweep found for a notice.

    stage: `identical` (the same file), `near` (PDQ within 31 bits in some orientation) or `similar` (by embedding: for a
    person to decide). state: `found`, `removed` or `kept`, as the host confirmed.
    """

    __tablename__ = "notice_copies"
    __table_args__ = (UniqueConstraint("notice_id", "image_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("copy"))
    notice_id: Mapped[str] = mapped_column(ForeignKey("notices.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    stage: Mapped[str] = mapped_column(String(10))
    distance: Mapped[int | None]
    similarity: Mapped[float | None] = mapped_column(Float)
    state: Mapped[str] = mapped_column(String(10))
    confirmed_at: Mapped[datetime | None]


class CounterNotice(TenantMixin, CreatedMixin, Base):
    """What somebody else says against a takedown. details: who, contact and statement: JSON, encrypted."""

    __tablename__ = "counter_notices"

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("counter"))
    notice_id: Mapped[str] = mapped_column(ForeignKey("notices.id"), index=True)
    details: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(10))
    decided_at: Mapped[datetime | None]
