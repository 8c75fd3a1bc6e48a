"""What all tables share."""

import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, MetaData, String, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

DEFAULT_TENANT = "default"


_last = 0
_numbering = threading.Lock()


def new_id(prefix: str) -> str:
    """An id such as `scan_01k2…`: 48 bits of milliseconds and 80 random bits in base 32, so that ids sort by time.

    Those that one process makes within a millisecond follow each other.
    """
    global _last  # noqa: PLW0603 - the one counter of the process
    with _numbering:
        moment = time.time_ns() // 1_000_000
        number = _last + 1 + secrets.randbits(32) if _last >> 80 >= moment else moment << 80 | secrets.randbits(80)
        _last = number
    return f"{prefix}_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def moment_of(identity: str) -> int:
    """Milliseconds since 1970 in an id of `new_id`, as whole digits of it: the 40 bits above the random ones."""
    digits = identity.rpartition("_")[2][:9]
    return sum(ALPHABET.index(digit) << (5 * place) for place, digit in enumerate(reversed(digits)))


def id_at(moment: int, prefix: str = "scan") -> str:
    """An id before all of its kind of a moment, as `moment_of` gives it."""
    return f"{prefix}_" + "".join(ALPHABET[moment >> shift & 31] for shift in range(40, -1, -5))


def utc_now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no time zone: it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: Json, list[Any]: Json, datetime: UtcDateTime()}


class TenantMixin:
    """Every table belongs to a tenant: one host, or one part of it, that never sees another's rows."""

    tenant_id: Mapped[str] = mapped_column(String(40), ForeignKey("tenants.id"))


class CreatedMixin:
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
