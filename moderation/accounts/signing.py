"""Signing in: a password and then a code; or what a provider says. Guesses are slowed by account and by address."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moderation import audit
from moderation.accounts import totp
from moderation.accounts.oidc import Identity
from moderation.accounts.passwords import check_password, hash_password, verify_password
from moderation.accounts.records import SignedIn, clean_name, clean_preferences
from moderation.accounts.repository import AccountRepository
from moderation.accounts.sessions import Client, SessionService, digest
from moderation.database import Database
from moderation.errors import AuthenticationError, ConflictError, InvalidRequestError, RateLimitError, StorageError
from moderation.rates import Rate
from moderation.tables import Account, RecoveryCode, new_id, utc_now
from moderation.vault import Vault

FREE_FAILURES = 5
"""Failures in a row after which an account waits: then 30 s, and twice as long after each further one."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)


class SignInService:
    """rate: how often one address may try. vault: of the secrets of authenticator apps, None where none is configured."""

    def __init__(self, database: Database, sessions: SessionService, vault: Vault | None, rate: Rate) -> None:
        self.database = database
        self.sessions = sessions
        self.vault = vault
        self.rate = rate

    def password(self, name: str, password: str, client: Client) -> str:
        """The first step; gives the token of a session that only the code's page takes.

        Raises AuthenticationError, the same and after the same time whether the name is unknown, the password wrong or the
        account waiting; RateLimitError for an address that tries too often.
        """
        self.rate.count(client.address, what="Attempts to sign in were made")
        account = self._attempt(name)
        hashed = account.password if account else ""
        right = verify_password(hashed, password)
        with self.database.write() as session:
            account = AccountRepository(session).account(account.id, lock=True) if account else None
            if account and right and account.password == hashed and not account.disabled_at:
                # The code may be tried at once, and counts in turn: failures before stay until it is right.
                account.failures, account.locked_until = max(0, account.failures - 1), None
                return self.sessions.start(session, account, client, stage="code")
            if account:
                audit.record(session, account.tenant_id, account.id, "account.password_wrong", account.id)
        raise AuthenticationError(
            "The name or the password is wrong.",
            hint="After several failures an account waits before the next attempt.",
        )

    def _attempt(self, name: str) -> Account | None:
        """The account, if it may try now. The attempt counts before it is made: many at once are many."""
        try:
            name = clean_name(name)
        except InvalidRequestError:
            return None
        with self.database.write() as session:
            account = AccountRepository(session).by_name(name, lock=True)
            if not account or account.disabled_at or not account.enrolled_at or not _may_try(account):
                return None
            return account

    def code(self, token: str, code: str, client: Client) -> str:
        """The second step, by the first one's token; gives the token of the session, which is another.

        code: of the authenticator app, which works once, or a recovery code. Raises AuthenticationError, RateLimitError.
        """
        self.rate.count(client.address, what="Attempts to sign in were made")
        pending = self.sessions.find(token, stage="code")
        if pending is None:
            raise AuthenticationError("The sign-in took too long.", hint="Start again with the password.")
        with self.database.write() as session:
            repository = AccountRepository(session)
            account = repository.account(pending.account.id, lock=True)
            # The token is used up first: of two requests with it at once, one goes on.
            if account is None or account.disabled_at or repository.by_token(digest(token)) is None:
                raise AuthenticationError("The sign-in took too long.", hint="Start again with the password.")
            self._must_try(account)
            used = self._use(session, account, code)
            if used:
                account.failures, account.locked_until, account.seen_at = 0, None, utc_now()
                repository.end(digest(token))
                audit.record(session, account.tenant_id, account.id, "account.signed_in", account.id, by=used)
                return self.sessions.start(session, account, client)
            audit.record(session, account.tenant_id, account.id, "account.code_wrong", account.id)
        raise AuthenticationError(
            "The code is wrong, or was used before.", hint="Wait for the next one in the app, or use a recovery code."
        )

    def _must_try(self, account: Account) -> None:
        if not _may_try(account):
            left = ((account.locked_until or utc_now()) - utc_now()).total_seconds()
            raise RateLimitError(
                "There were several failures in a row.",
                retry_after=max(1, round(left)),
                hint=f"Try again in {max(1, round(left))} seconds.",
            )

    def _use(self, session: Session, account: Account, code: str) -> str:
        """Use a code up: `app`, `recovery`, or nothing for one that is wrong."""
        typed = totp.digits(code)
        if typed.isdecimal() and len(typed) == 6:
            step = totp.matching_step(self.secret_of(account), typed, after=account.totp_step)
            account.totp_step = step or account.totp_step
            return "app" if step else ""
        taken = AccountRepository(session).take_recovery_code(account.id, totp.recovery_digest(account.id, code))
        return "recovery" if taken else ""

    def secret_of(self, account: Account) -> str:
        """An account's authenticator secret, decrypted. Raises StorageError."""
        return self.key().decrypt(account.totp_secret or b"", context(account)).decode()

    def key(self) -> Vault:
        """Raises StorageError where none is configured."""
        if self.vault is None:
            raise StorageError(
                "Signing in is not set up: PALISADE_ACCOUNT_KEYS is not set.",
                hint="Make a key with `palisade keys generate-secret`.",
            )
        return self.vault

    def change_password(self, signed: SignedIn, current: str, new: str, client: Client) -> str:
        """A new password for the old one; every session ends. Gives the token of a new one.

        Raises AuthenticationError, InvalidRequestError, RateLimitError.
        """
        check_password(new, name=signed.account.name)
        with self.database.write() as session:
            self._must_try(_mine(session, signed))
        if not verify_password(signed.account.password, current):
            raise AuthenticationError("The current password is wrong.", hint="Your password was not changed.")
        hashed = hash_password(new)
        with self.database.write() as session:
            account = _mine(session, signed)
            if account.password != signed.account.password:
                raise AuthenticationError("The password was changed meanwhile.", hint="Sign in again.")
            account.password, account.failures, account.locked_until = hashed, 0, None
            ended = AccountRepository(session).end_all(account.id)
            audit.record(session, account.tenant_id, account.id, "account.password", account.id, sessions_ended=ended)
            return self.sessions.start(session, account, client)

    def provided(self, identity: Identity, tenant: str, client: Client) -> str:
        """Sign in somebody whom the provider vouches for, with the roles that it gives now; gives a session's token.

        Raises AuthenticationError for a disabled account, ConflictError where somebody with a password has the name: an
        account is never handed over to whoever comes with its name.
        """
        try:
            return self._provided(identity, tenant, client)
        except IntegrityError:  # of two first sign-ins at once, one makes the account
            return self._provided(identity, tenant, client)

    def _provided(self, identity: Identity, tenant: str, client: Client) -> str:
        with self.database.write() as session:
            repository = AccountRepository(session)
            account = repository.by_subject(identity.subject)
            if account is None:
                account = _new(session, identity, tenant)
            if account.disabled_at or account.tenant_id != tenant:
                raise AuthenticationError("The account is disabled.", hint="Ask an admin of your team.")
            if account.roles != identity.roles:
                audit.record(session, tenant, "provider", "account.changed", account.id, roles=identity.roles)
                repository.end_all(account.id)
                account.roles = identity.roles
            account.seen_at = utc_now()
            audit.record(session, tenant, account.id, "account.signed_in", account.id, by="provider")
            return self.sessions.start(session, account, client)

    def renew_recovery_codes(self, signed: SignedIn, code: str) -> Sequence[str]:
        """Ten new recovery codes for a code of the app; the old ones are gone. Raises AuthenticationError, RateLimitError."""
        with self.database.write() as session:
            account = _mine(session, signed)
            self._must_try(account)
            if totp.digits(code).isdecimal() and self._use(session, account, code):
                account.failures, account.locked_until = 0, None
                audit.record(session, account.tenant_id, account.id, "account.recovery_codes", account.id)
                return fresh_recovery_codes(session, account)
        raise AuthenticationError("The code is wrong, or was used before.", hint="Wait for the next one in the app.")

    def recovery_codes_left(self, signed: SignedIn) -> int:
        with self.database.read() as session:
            return AccountRepository(session).count_recovery_codes(signed.account.id)

    def prefer(self, signed: SignedIn, blur: str, *, grey: bool, small: bool, language: str) -> None:
        """Keep a person's own wishes. Raises InvalidRequestError."""
        wishes = clean_preferences(blur, grey=grey, small=small, language=language)
        with self.database.write() as session:
            _mine(session, signed).preferences = wishes


def fresh_recovery_codes(session: Session, account: Account) -> list[str]:
    """New recovery codes instead of the old ones, within a transaction."""
    repository, codes = AccountRepository(session), totp.new_recovery_codes()
    repository.drop_recovery_codes(account.id)
    for code in codes:
        row = RecoveryCode(
            id=new_id("recovery"),
            tenant_id=account.tenant_id,
            created_at=utc_now(),
            account_id=account.id,
            digest=totp.recovery_digest(account.id, code),
        )
        repository.add(row)
    return codes


def context(account: Account) -> bytes:
    """What an account's authenticator secret is bound to."""
    return f"totp:{account.id}".encode()


def _new(session: Session, identity: Identity, tenant: str) -> Account:
    name, repository = clean_name(identity.name), AccountRepository(session)
    holder = repository.by_name(name, lock=True)
    if holder and holder.subject == identity.subject:  # another first sign-in made it since the look by subject
        return holder
    if holder:
        raise ConflictError("There is an account of that name that signs in with a password.", hint="Ask an admin.")
    account = Account(
        id=new_id("account"),
        tenant_id=tenant,
        created_at=utc_now(),
        name=name,
        roles=identity.roles,
        subject=identity.subject,
        preferences={},
    )
    repository.add(account)
    audit.record(session, tenant, "provider", "account.added", account.id, roles=identity.roles)
    return account


def _mine(session: Session, signed: SignedIn) -> Account:
    account = AccountRepository(session).account(signed.account.id, lock=True)
    if account is None or account.disabled_at:
        raise AuthenticationError("The account is disabled.")
    return account


def _may_try(account: Account) -> bool:
    """Whether the account is not waiting; then the attempt is counted, as a failure until it turns out to be none."""
    now = utc_now()
    if account.locked_until and account.locked_until > now:
        return False
    account.failures += 1
    account.locked_until = _wait_after(account.failures, now)
    return True


def _wait_after(failures: int, now: datetime) -> datetime | None:
    if failures < FREE_FAILURES:
        return None
    doublings = min(failures - FREE_FAILURES, 10)
    return now + min(LONGEST_WAIT, FIRST_WAIT * (1 << doublings))
