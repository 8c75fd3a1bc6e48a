"""The way from an invitation to a first session: choose a password, set an authenticator app up, keep recovery codes."""

from collections.abc import Sequence
from dataclasses import dataclass

from moderation import audit
from moderation.accounts import totp
from moderation.accounts.passwords import check_password, hash_password
from moderation.accounts.repository import AccountRepository
from moderation.accounts.sessions import Client, digest
from moderation.accounts.signing import SignInService, context, fresh_recovery_codes
from moderation.errors import AuthenticationError, ConflictError, NotFoundError
from moderation.tables import Account, utc_now


@dataclass(frozen=True)
class Authenticator:
    """What an authenticator app is set up with: the secret to type, and the same as a QR code (an SVG element)."""

    secret: str
    qr: str


class EnrolmentService:
    def __init__(self, signing: SignInService) -> None:
        self.signing = signing
        self.database = signing.database

    def invited(self, token: str) -> Account:
        """Whom an invitation is for. Raises NotFoundError, the same for every one that does not hold (any more)."""
        with self.database.read() as session:
            return _holds(AccountRepository(session).by_invitation(digest(token)))

    def choose_password(self, token: str, password: str) -> None:
        """The first step, which may be taken again. Raises NotFoundError, InvalidRequestError."""
        check_password(password, name=self.invited(token).name)
        hashed, vault = hash_password(password), self.signing.key()
        with self.database.write() as session:
            account = _holds(AccountRepository(session).by_invitation(digest(token), lock=True))
            account.password = hashed
            account.totp_secret = vault.encrypt(totp.new_secret().encode(), context(account))
            account.totp_step = 0

    def authenticator(self, token: str) -> Authenticator:
        """What to set the app up with, once the password is chosen. Raises NotFoundError, ConflictError before."""
        account = self.invited(token)
        if not account.password or not account.totp_secret:
            raise ConflictError("There is no password yet.", hint="Choose it first.")
        secret = self.signing.secret_of(account)
        grouped = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
        return Authenticator(grouped, totp.qr_svg(totp.uri(secret, account.name)))

    def finish(self, token: str, code: str, client: Client) -> tuple[str, Sequence[str]]:
        """The last step: a first code of the app. Gives a session's token and the recovery codes, which are shown this once.

        The invitation is used up. Raises NotFoundError, ConflictError, AuthenticationError.
        """
        self.signing.rate.count(client.address, what="Attempts to sign in were made")
        with self.database.write() as session:
            account = _holds(AccountRepository(session).by_invitation(digest(token), lock=True))
            if not account.password or not account.totp_secret:
                raise ConflictError("There is no password yet.", hint="Choose it first.")
            step = totp.matching_step(self.signing.secret_of(account), totp.digits(code), after=account.totp_step)
            if step is None:
                raise AuthenticationError(
                    "The code is not the one that the app shows now.",
                    hint="Check the clock of the phone, and try the next one.",
                )
            account.totp_step, account.enrolled_at, account.seen_at = step, utc_now(), utc_now()
            account.invitation = account.invitation_ends_at = None
            codes = fresh_recovery_codes(session, account)
            audit.record(session, account.tenant_id, account.id, "account.enrolled", account.id)
            return self.signing.sessions.start(session, account, client), codes


def _holds(account: Account | None) -> Account:
    ends = account.invitation_ends_at if account else None
    if account is None or account.disabled_at or ends is None or ends <= utc_now():
        raise NotFoundError("This invitation does not hold (any more).", hint="Ask for a new one.")
    return account
