"""Accounts of the people who use the dashboard, their sessions and recovery codes."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin


class Account(TenantMixin, CreatedMixin, Base):
    """Someone who may sign in. Names are of all tenants together: who signs in gives a name, not a tenant.

    subject: SHA-256 of issuer and subject, of those who sign in through a provider. totp_step: the time step of the last code
    that was used. failures: attempts since the last that succeeded.
    """

    __tablename__ = "accounts"
    __table_args__ = (Index("ix_accounts_tenant", "tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    roles: Mapped[list[Any]]
    queues: Mapped[list[Any] | None]
    subject: Mapped[str | None] = mapped_column(String(64), unique=True)
    password: Mapped[str] = mapped_column(String(200), default="")
    totp_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    totp_step: Mapped[int] = mapped_column(default=0)
    enrolled_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    invitation: Mapped[str | None] = mapped_column(String(64), unique=True)
    invitation_ends_at: Mapped[datetime | None]
    preferences: Mapped[dict[str, Any]]


class AccountSession(TenantMixin, CreatedMixin, Base):
    """A browser that is signed in, or (stage `code`) of which the password was right. Only the token's SHA-256 is kept."""

    __tablename__ = "account_sessions"
    __table_args__ = (Index("ix_account_sessions_account_id", "account_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(40), ForeignKey("accounts.id"))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    stage: Mapped[str] = mapped_column(String(10))
    agent: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
    seen_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class RecoveryCode(TenantMixin, CreatedMixin, Base):
    """A code that stands in, once, for a lost authenticator. Only its SHA-256 is kept: it has 80 random bits."""

    __tablename__ = "recovery_codes"
    __table_args__ = (Index("ix_recovery_codes_account_id", "account_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(40), ForeignKey("accounts.id"))
    digest: Mapped[str] = mapped_column(String(64))
