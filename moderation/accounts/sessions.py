"""Sessions of the dashboard: in the database, so that any server knows them, and an end holds everywhere at once."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from moderation import audit
from moderation.accounts.records import Display, SignedIn, person_of
from moderation.accounts.repository import AccountRepository
from moderation.database import Database
from moderation.errors import NotFoundError
from moderation.settings import Settings
from moderation.tables import Account, AccountSession, new_id, utc_now

CODE_MINUTES = 5
"""Minutes from the right password to the code."""

TOUCH_SECONDS = 60
"""How stale `seen_at` may get: not every request has to write."""


@dataclass(frozen=True)
class Client:
    """Where a request comes from, as its sessions are listed."""

    address: str = ""
    agent: str = ""


class SessionService:
    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.idle = timedelta(minutes=settings.session_idle_minutes)
        self.longest = timedelta(hours=settings.session_hours)
        self.team = Display.of(settings)

    def start(self, session: Session, account: Account, client: Client, *, stage: str = "full") -> str:
        """A new session within a transaction; gives its token, which is never one that the browser held before."""
        token, now = secrets.token_urlsafe(32), utc_now()
        lasts = timedelta(minutes=CODE_MINUTES) if stage == "code" else self.longest
        row = AccountSession(
            id=new_id("session"),
            tenant_id=account.tenant_id,
            created_at=now,
            account_id=account.id,
            digest=digest(token),
            stage=stage,
            agent=client.agent[:200],
            address=client.address[:64],
            seen_at=now,
            ends_at=now + lasts,
        )
        AccountRepository(session).add(row)
        return token

    def find(self, token: str, *, stage: str = "full", now: datetime | None = None) -> SignedIn | None:
        """Who has a token. None for one that is unknown, over, of another stage, or of an account that is disabled."""
        now = now or utc_now()
        with self.database.read() as session:
            found = AccountRepository(session).by_token(digest(token)) if token else None
        if found is None:
            return None
        row, account = found
        if row.stage != stage or row.ends_at <= now or row.seen_at <= now - self.idle or account.disabled_at:
            return None
        if now - row.seen_at > timedelta(seconds=TOUCH_SECONDS):
            with self.database.write() as session:
                AccountRepository(session).touch(row.id, now)
        display = self.team.safer(Display.kept(account.preferences))
        return SignedIn(account, row, person_of(account), display, token)

    def end(self, token: str) -> None:
        """Sign out: nobody can use the token any more, on any server."""
        with self.database.write() as session:
            repository = AccountRepository(session)
            found = repository.by_token(digest(token))
            if found and repository.end(digest(token)):
                audit.record(session, found[1].tenant_id, found[1].id, "account.signed_out", found[1].id)

    def of(self, account: Account) -> Sequence[AccountSession]:
        """The account's sessions, the last seen first."""
        now = utc_now()
        with self.database.read() as session:
            return AccountRepository(session).sessions(account.id, now, now - self.idle)

    def end_one(self, account: Account, session_id: str) -> None:
        """End one of the account's own sessions. Raises NotFoundError, also for another's."""
        with self.database.write() as session:
            if not AccountRepository(session).end_one(account.id, session_id):
                raise NotFoundError("There is no such session.", hint="It may have ended.")
            audit.record(session, account.tenant_id, account.id, "account.session_ended", account.id)

    def end_others(self, signed: SignedIn) -> int:
        """End all of the account's sessions but this one; gives how many that was."""
        with self.database.write() as session:
            ended = AccountRepository(session).end_all(signed.account.id, but=digest(signed.token))
            account = signed.account
            audit.record(session, account.tenant_id, account.id, "account.sessions_ended", account.id, ended=ended)
        return ended

    def forget(self) -> int:
        """Delete the sessions that are over, of every tenant; gives how many that was."""
        now = utc_now()
        with self.database.write() as session:
            return AccountRepository(session).forget(now, now - self.idle)


def digest(token: str) -> str:
    """What is kept of a token: it has 256 random bits, so no salt helps."""
    return hashlib.sha256(token.encode()).hexdigest()
