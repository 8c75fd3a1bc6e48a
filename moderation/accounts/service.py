"""Making accounts, changing what they may do, taking them away."""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moderation import audit
from moderation.accounts.records import clean_name, clean_queues, clean_roles
from moderation.accounts.repository import AccountRepository
from moderation.accounts.sessions import digest
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.roles import Role
from moderation.tables import Account, Tenant, new_id, utc_now

INVITATION_HOURS = 72


class AccountService:
    """What admins do. `actor`: who does it, for the audit trail: an account's id, or `command line`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(
        self, tenant: str, name: str, roles: Iterable[str], *, queues: Iterable[str] = (), actor: str
    ) -> tuple[Account, str]:
        """A new account, and the token of its invitation, which is shown this once.

        Raises InvalidRequestError, ConflictError where the name is taken, NotFoundError where there is no such tenant.
        """
        account = Account(
            id=new_id("account"),
            tenant_id=tenant,
            created_at=utc_now(),
            name=clean_name(name),
            roles=clean_roles(roles),
            queues=clean_queues(queues),
            preferences={},
        )
        try:
            with self.database.write() as session:
                if session.get(Tenant, tenant) is None:
                    raise NotFoundError(f"There is no tenant {tenant[:40]!r}.", hint="Name one that has keys.")
                AccountRepository(session).add(account)
                token = _invite(account)
                audit.record(session, tenant, actor, "account.added", account.id, roles=account.roles)
        except IntegrityError:
            raise ConflictError(f"There is an account {account.name!r} already.", hint="Choose another name.") from None
        return account, token

    def accounts(self, tenant: str) -> Sequence[Account]:
        """All of a tenant, by name."""
        with self.database.read() as session:
            return AccountRepository(session).accounts(tenant)

    def page(self, tenant: str, *, search: str = "", after: str = "", limit: int = 50) -> tuple[Sequence[Account], int]:
        """Accounts of a tenant by name, behind one, with those in whose name something is; and how many such there are."""
        with self.database.read() as session:
            repository = AccountRepository(session)
            found = repository.page(tenant, search=search.strip(), after=after, limit=limit)
            return found, repository.count(tenant, search=search.strip())

    def id_of(self, tenant: str, name: str) -> str | None:
        """The account of a name, None where nobody has it."""
        with self.database.read() as session:
            account = AccountRepository(session).by_name(name.strip().lower()) if name else None
        return account.id if account is not None and account.tenant_id == tenant else None

    def names(self, tenant: str, account_ids: Collection[str]) -> Mapping[str, str]:
        """What people are called, by id; who has no account is not among them."""
        with self.database.read() as session:
            return AccountRepository(session).names(tenant, account_ids)

    def is_empty(self) -> bool:
        """Whether nobody has an account yet, of any tenant."""
        with self.database.read() as session:
            return AccountRepository(session).is_empty()

    def find(self, tenant: str, account_id: str) -> Account:
        """Raises NotFoundError."""
        with self.database.read() as session:
            account = AccountRepository(session).account(account_id, tenant)
        if account is None:
            raise NotFoundError(f"There is no account {account_id[:40]!r}.", hint="See the list of accounts.")
        return account

    def named(self, tenant: str, name: str) -> Account:
        """Raises NotFoundError."""
        with self.database.read() as session:
            account = AccountRepository(session).by_name(clean_name(name))
        if account is None or account.tenant_id != tenant:
            raise NotFoundError(f"There is no account {name[:100]!r}.", hint="See `palisade accounts list`.")
        return account

    def change(
        self, tenant: str, account_id: str, roles: Iterable[str], *, queues: Iterable[str] = (), actor: str
    ) -> Account:
        """Set roles and queues; the account's sessions end. Raises NotFoundError, InvalidRequestError, ConflictError."""
        new_roles, new_queues = clean_roles(roles), clean_queues(queues)
        with self.database.write() as session:
            account = _locked(session, tenant, account_id)
            if account.subject and new_roles != account.roles:
                raise ConflictError(
                    "This account's roles come from the sign-in provider.", hint="Change its groups there."
                )
            if Role.ADMIN not in new_roles:
                _keep_an_admin(session, account)
            account.roles, account.queues = new_roles, new_queues
            ended = AccountRepository(session).end_all(account.id)
            note = {"roles": new_roles, "queues": new_queues, "sessions_ended": ended}
            audit.record(session, tenant, actor, "account.changed", account.id, **note)
        return account

    def disable(self, tenant: str, account_id: str, *, actor: str) -> Account:
        """Nobody can sign in with it any more, and whoever has is signed out. Raises NotFoundError, ConflictError."""
        with self.database.write() as session:
            account = _locked(session, tenant, account_id)
            _keep_an_admin(session, account)
            account.disabled_at = account.disabled_at or utc_now()
            account.invitation = account.invitation_ends_at = None
            AccountRepository(session).end_all(account.id)
            audit.record(session, tenant, actor, "account.disabled", account.id)
        return account

    def enable(self, tenant: str, account_id: str, *, actor: str) -> Account:
        """Let a disabled account in again, with what it had. Raises NotFoundError."""
        with self.database.write() as session:
            account = _locked(session, tenant, account_id)
            account.disabled_at = None
            audit.record(session, tenant, actor, "account.enabled", account.id)
        return account

    def reset(self, tenant: str, account_id: str, *, actor: str) -> tuple[Account, str]:
        """A new invitation; password, authenticator, recovery codes and sessions are gone.

        Raises NotFoundError, ConflictError for an account of the sign-in provider, and for one that is disabled.
        """
        with self.database.write() as session:
            account = _locked(session, tenant, account_id)
            if account.subject:
                raise ConflictError("This account signs in through the provider.", hint="Reset it there.")
            if account.disabled_at:
                raise ConflictError("This account is disabled.", hint="Enable it first.")
            account.password, account.totp_secret, account.enrolled_at = "", None, None
            account.failures, account.locked_until = 0, None
            repository = AccountRepository(session)
            repository.drop_recovery_codes(account.id)
            repository.end_all(account.id)
            token = _invite(account)
            audit.record(session, tenant, actor, "account.reset", account.id)
        return account, token


def _invite(account: Account) -> str:
    token = secrets.token_urlsafe(32)
    account.invitation = digest(token)
    account.invitation_ends_at = utc_now() + timedelta(hours=INVITATION_HOURS)
    return token


def _locked(session: Session, tenant: str, account_id: str) -> Account:
    # All at once, in one order: the rule of the last admin is about the others, too.
    rows = AccountRepository(session).lock_accounts(tenant)
    account = next((row for row in rows if row.id == account_id), None)
    if account is None:
        raise NotFoundError(f"There is no account {account_id[:40]!r}.", hint="See the list of accounts.")
    return account


def _keep_an_admin(session: Session, leaving: Account) -> None:
    rows = AccountRepository(session).accounts(leaving.tenant_id)
    admins = {row.id for row in rows if Role.ADMIN in row.roles and not row.disabled_at}
    if admins == {leaving.id}:
        raise ConflictError("This is the last admin.", hint="Make somebody else an admin first.")


def must_match(password: str, repeated: str) -> None:
    """Raises InvalidRequestError when a password was typed in two ways."""
    if password != repeated:
        raise InvalidRequestError("The two passwords differ.", hint="Type the same one twice.")
