"""`Idempotency-Key`: a request that is sent again is answered again, and done once.

Follows the IETF draft "The Idempotency-Key HTTP Header Field": the same key with another request is refused, a request
whose first try still runs is told to wait.
"""

from datetime import timedelta

import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError
from moderation.tables import IdempotencyKey, utc_now

ABANDONED = timedelta(minutes=5)
"""A try without an answer after this long died with its process; the next one takes over."""


class Idempotency:
    """Remembers the answers of one tenant's requests for `hours`."""

    def __init__(self, database: Database, *, hours: int) -> None:
        self.database = database
        self.lifetime = timedelta(hours=hours)

    def begin(self, tenant: str, key: str, fingerprint: str) -> str | None:
        """The stored answer of this request, or None when the caller is to do the work.

        fingerprint: a digest of everything the answer depends on. Raises InvalidRequestError when the key belongs to
        another request, ConflictError while the first try runs.
        """
        if not 1 <= len(key) <= 200:
            raise InvalidRequestError(f"The Idempotency-Key has {len(key)} characters.", hint="Send 1 to 200.")
        now = utc_now()
        with self.database.write() as session:
            found = session.get(IdempotencyKey, (tenant, key), with_for_update=True)
            if found and found.created_at < now - (ABANDONED if found.answer is None else self.lifetime):
                session.delete(found)
                session.flush()
                found = None
            if found is None:
                try:
                    with session.begin_nested():
                        session.add(IdempotencyKey(tenant_id=tenant, key=key, fingerprint=fingerprint, created_at=now))
                except sa.exc.IntegrityError:
                    raise _still_running(key) from None
                return None
            if found.fingerprint != fingerprint:
                raise InvalidRequestError(
                    f"The Idempotency-Key {key!r} was used for another request.",
                    hint="Use a new key for each request.",
                )
            if found.answer is None:
                raise _still_running(key)
            return found.answer

    def complete(self, tenant: str, key: str, answer: str) -> None:
        """Remember the answer of a request that `begin` gave to the caller."""
        with self.database.write() as session:
            found = session.get(IdempotencyKey, (tenant, key))
            if found:
                found.answer = answer

    def abandon(self, tenant: str, key: str) -> None:
        """Forget a try that failed, so that it may be made again."""
        with self.database.write() as session:
            session.execute(
                sa.delete(IdempotencyKey).where(
                    IdempotencyKey.tenant_id == tenant, IdempotencyKey.key == key, IdempotencyKey.answer.is_(None)
                )
            )

    def forget_old(self) -> int:
        """Delete the answers that are past their time; how many."""
        with self.database.write() as session:
            result = session.execute(
                sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < utc_now() - self.lifetime)
            )
            return int(getattr(result, "rowcount", 0))


def _still_running(key: str) -> ConflictError:
    return ConflictError(
        f"The first request with the Idempotency-Key {key!r} still runs.", hint="Send it again in a second."
    )
