"""People with accounts, for tests."""

from dataclasses import dataclass

import pyotp

from moderation.accounts.sessions import Client
from moderation.application import Application
from moderation.tables import DEFAULT_TENANT, Account

PASSWORD = "seven lanterns over water"
CLIENT = Client("203.0.113.7", "Firefox")


@dataclass
class Someone:
    """An account that is enrolled, and what only its person knows."""

    account: Account
    secret: str
    recovery: list[str]
    token: str
    password: str = PASSWORD

    @property
    def id(self) -> str:
        return self.account.id

    @property
    def name(self) -> str:
        return self.account.name

    def code(self, parts: Application) -> str:
        """A code of the app that was not used yet. Time does not go on in a test, so the use of the last one is forgotten."""
        with parts.database.write() as session:
            account = session.get(Account, self.account.id)
            assert account is not None
            account.totp_step = 0
        return pyotp.TOTP(self.secret).now()

    def sign_in(self, parts: Application, client: Client = CLIENT) -> str:
        """The token of a new session."""
        pending = parts.signing.password(self.name, self.password, client)
        return parts.signing.code(pending, self.code(parts), client)


def someone(parts: Application, name: str = "ada@example.org", *roles: str, tenant: str = DEFAULT_TENANT) -> Someone:
    """Somebody who took the whole way from the invitation."""
    account, invitation = parts.accounts.add(tenant, name, roles or ("reviewer",), actor="test")
    parts.enrolment.choose_password(invitation, PASSWORD)
    secret = parts.enrolment.authenticator(invitation).secret.replace(" ", "")
    token, recovery = parts.enrolment.finish(invitation, pyotp.TOTP(secret).now(), CLIENT)
    return Someone(account, secret, list(recovery), token)
