"""Tenants and the keys by which their services are known."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class Tenant(CreatedMixin, Base):
    """A host, or a part of one, whose images, keys and cases are its own.

    case_images: the last number that was given to an image of a case, see `CaseImage.number`.
    """

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    case_images: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class ApiKey(TenantMixin, CreatedMixin, Base):
    """A key of a tenant's service. Only the SHA-256 of the secret is kept: it has 256 random bits, so no salt helps."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("key"))
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
