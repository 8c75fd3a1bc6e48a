"""Making, checking and revoking API keys."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from moderation.database import Database
from moderation.errors import AuthenticationError, ForbiddenError, InvalidRequestError, NotFoundError
from moderation.keys.repository import KeyRepository
from moderation.tables import DEFAULT_TENANT, ApiKey, Tenant, new_id, utc_now

SCOPES = {
    "scan": "send images and read one's own answers",
    "read": "read scans and images",
    "people": "enrol and remove protected people",
    "banks": "read and change banks of known signals",
    "takedowns": "file takedown notices, and handle them",
    "reviews": "work the queue of cases for people who are named, and file appeals",
    "rescans": "plan re-scans of everything hosted, and follow them",
    "prompts": "check prompts for image generators",
}
"""What a key may do, scope by scope."""

PREFIX = "pls_"


@dataclass(frozen=True)
class Caller:
    """Who makes a request: a tenant's key, or the person at this machine where keys are not required."""

    tenant: str
    key_id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raises ForbiddenError when the key lacks a scope."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"This key lacks the scope {scope!r}; it has {', '.join(sorted(self.scopes)) or 'none'}.",
                hint=f"Make one with `palisade keys create --scope {scope}`.",
            )


LOCAL_CALLER = Caller(DEFAULT_TENANT, "local", frozenset(SCOPES))


class KeyService:
    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, name: str, scopes: Sequence[str], *, tenant: str = DEFAULT_TENANT, days: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is shown this once and never stored.

        The tenant is made when it is new. Raises InvalidRequestError on an unknown scope or an unfit name.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InvalidRequestError(
                f"{', '.join(unknown) or 'No scope'} is not a scope.", hint=f"Scopes are {', '.join(SCOPES)}."
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", tenant):
            raise InvalidRequestError(
                f"{tenant!r} is not a tenant's id.", hint="Use up to 40 lower-case letters, digits, - and _."
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=new_id("key"),
            tenant_id=tenant,
            name=name[:200],
            digest=digest(secret),
            scopes=sorted(set(scopes)),
            expires_at=utc_now() + timedelta(days=days) if days else None,
            created_at=utc_now(),
        )
        with self.database.write() as session:
            repository = KeyRepository(session)
            if repository.tenant(tenant) is None:
                repository.add_tenant(Tenant(id=tenant, name=tenant))
            repository.add(key)
        return key, secret

    def authenticate(self, secret: str, *, now: datetime | None = None) -> Caller:
        """The caller behind a secret. Raises AuthenticationError, the same for unknown, expired and revoked keys."""
        with self.database.read() as session:
            key = KeyRepository(session).by_digest(digest(secret))
        now = now or utc_now()
        if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
            raise AuthenticationError(
                "The API key is unknown, expired or revoked.", hint="Make one with `palisade keys create`."
            )
        return Caller(key.tenant_id, key.id, frozenset(key.scopes))

    def of_tenant(self, tenant: str = DEFAULT_TENANT) -> Sequence[ApiKey]:
        with self.database.read() as session:
            return KeyRepository(session).of_tenant(tenant)

    def revoke(self, key_id: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Raises NotFoundError."""
        with self.database.write() as session:
            key = KeyRepository(session).by_id(tenant, key_id)
            if key is None:
                raise NotFoundError(f"Tenant {tenant!r} has no key {key_id!r}.", hint="See `palisade keys list`.")
            key.revoked_at = key.revoked_at or utc_now()


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
