"""The audit trail, and the outbox of events."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id

GIVEN_UP = text("next_at IS NULL AND delivered_at IS NULL")


class AuditRecord(TenantMixin, CreatedMixin, Base):
    """Who did what to what, and when. Written in the transaction of the deed, never changed.

    action: noun and verb, such as `bank.created`. subject: id of what was acted on. note: what was changed, without
    personal data.
    """

    __tablename__ = "audit_records"
    __table_args__ = (
        Index("ix_audit_records_subject", "tenant_id", "subject", "id"),
        Index("ix_audit_records_tenant", "tenant_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("audit"))
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200))
    note: Mapped[dict[str, Any]]


class Event(TenantMixin, CreatedMixin, Base):
    """Something that the host is to be told, written in the transaction that made it so (transactional outbox).

    next_at: when it is delivered next, None once it is delivered or given up. attempts, error: how that went so far.
    traceparent: the span that it was made in (W3C Trace Context), '' where nothing was traced.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_next_at", "next_at"),
        Index("ix_events_tenant", "tenant_id", "id"),
        Index("ix_events_given_up", "next_at", "delivered_at", postgresql_where=GIVEN_UP, sqlite_where=GIVEN_UP),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("evt"))
    kind: Mapped[str] = mapped_column(String(60))
    payload: Mapped[dict[str, Any]]
    next_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(Text, default="")
    traceparent: Mapped[str] = mapped_column(String(55), default="", server_default="")
