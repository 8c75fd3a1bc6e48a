"""SQL of accounts, sessions and recovery codes."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.tables import Account, AccountSession, RecoveryCode


class AccountRepository:
    """Reads and writes accounts within one transaction. What is asked by id belongs to one tenant."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, *rows: Account | AccountSession | RecoveryCode) -> None:
        for row in rows:
            self.session.add(row)
        self.session.flush()

    def account(self, account_id: str, tenant: str | None = None, *, lock: bool = False) -> Account | None:
        query = sa.select(Account).where(Account.id == account_id)
        if tenant is not None:
            query = query.where(Account.tenant_id == tenant)
        return self.session.scalar(query.with_for_update() if lock else query)

    def by_name(self, name: str, *, lock: bool = False) -> Account | None:
        query = sa.select(Account).where(Account.name == name)
        return self.session.scalar(query.with_for_update() if lock else query)

    def by_subject(self, subject: str) -> Account | None:
        return self.session.scalar(sa.select(Account).where(Account.subject == subject).with_for_update())

    def by_invitation(self, digest: str, *, lock: bool = False) -> Account | None:
        query = sa.select(Account).where(Account.invitation == digest)
        return self.session.scalar(query.with_for_update() if lock else query)

    def accounts(self, tenant: str) -> Sequence[Account]:
        """By name."""
        return self.session.scalars(sa.select(Account).where(Account.tenant_id == tenant).order_by(Account.name)).all()

    def page(self, tenant: str, *, search: str, after: str, limit: int) -> Sequence[Account]:
        """By name, behind one; search: what names have in them, '' for all."""
        query = sa.select(Account).where(*_matching(tenant, search), Account.name > after)
        return self.session.scalars(query.order_by(Account.name).limit(limit)).all()

    def count(self, tenant: str, *, search: str) -> int:
        return self.session.scalar(sa.select(sa.func.count(Account.id)).where(*_matching(tenant, search))) or 0

    def names(self, tenant: str, account_ids: Collection[str]) -> dict[str, str]:
        query = sa.select(Account.id, Account.name).where(Account.tenant_id == tenant)
        return {row[0]: row[1] for row in self.session.execute(query.where(Account.id.in_(sorted(account_ids))))}

    def is_empty(self) -> bool:
        return self.session.scalar(sa.select(Account.id).limit(1)) is None

    def lock_accounts(self, tenant: str) -> Sequence[Account]:
        """All of a tenant, held until the end of the transaction: for what depends on the others."""
        query = sa.select(Account).where(Account.tenant_id == tenant).order_by(Account.id)
        return self.session.scalars(query.with_for_update()).all()

    def by_token(self, digest: str) -> tuple[AccountSession, Account] | None:
        query = sa.select(AccountSession, Account).join(Account, Account.id == AccountSession.account_id)
        row = self.session.execute(query.where(AccountSession.digest == digest)).first()
        return (row[0], row[1]) if row else None

    def sessions(self, account_id: str, now: datetime, idle_since: datetime) -> Sequence[AccountSession]:
        """Of an account, those that still hold, the last seen first."""
        query = sa.select(AccountSession).where(
            AccountSession.account_id == account_id,
            AccountSession.stage == "full",
            AccountSession.ends_at > now,
            AccountSession.seen_at > idle_since,
        )
        return self.session.scalars(query.order_by(AccountSession.seen_at.desc(), AccountSession.id)).all()

    def touch(self, session_id: str, now: datetime) -> None:
        self.session.execute(sa.update(AccountSession).where(AccountSession.id == session_id).values(seen_at=now))

    def end(self, digest: str) -> int:
        """End the session of a token; gives how many that was."""
        return _count(self.session, sa.delete(AccountSession).where(AccountSession.digest == digest))

    def end_one(self, account_id: str, session_id: str) -> int:
        """End one session of an account by its id; gives how many that was."""
        query = sa.delete(AccountSession).where(AccountSession.account_id == account_id)
        return _count(self.session, query.where(AccountSession.id == session_id))

    def end_all(self, account_id: str, *, but: str = "") -> int:
        """End an account's sessions, but the one of a digest; gives how many that was."""
        query = sa.delete(AccountSession).where(AccountSession.account_id == account_id)
        return _count(self.session, query.where(AccountSession.digest != but))

    def forget(self, now: datetime, idle_since: datetime) -> int:
        """Delete the sessions that are over; gives how many that was."""
        over = (AccountSession.ends_at <= now) | (AccountSession.seen_at <= idle_since)
        return _count(self.session, sa.delete(AccountSession).where(over))

    def take_recovery_code(self, account_id: str, digest: str) -> bool:
        """Use a recovery code up. False where there is none: of two at once, one gets it."""
        query = sa.delete(RecoveryCode).where(RecoveryCode.account_id == account_id, RecoveryCode.digest == digest)
        return _count(self.session, query) == 1

    def drop_recovery_codes(self, account_id: str) -> None:
        self.session.execute(sa.delete(RecoveryCode).where(RecoveryCode.account_id == account_id))

    def count_recovery_codes(self, account_id: str) -> int:
        query = sa.select(sa.func.count()).select_from(RecoveryCode).where(RecoveryCode.account_id == account_id)
        return self.session.scalar(query) or 0


def _matching(tenant: str, search: str) -> tuple[sa.ColumnElement[bool], ...]:
    mine = Account.tenant_id == tenant
    return (mine, sa.func.lower(Account.name).contains(search.lower(), autoescape=True)) if search else (mine,)


def _count(session: Session, statement: sa.Delete) -> int:
    result: sa.CursorResult[object] = session.execute(statement)  # type: ignore[assignment]
    return result.rowcount
