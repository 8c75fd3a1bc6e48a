"""Signing in through an OpenID Connect provider: authorization code, PKCE, state and nonce (OpenID Connect Core 1.0, RFC 7636).

Everything is fetched through the SSRF-safe client, and verified with joserfc and Authlib's claims of the ID token.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlencode

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from moderation.accounts.records import clean_roles
from moderation.errors import AuthenticationError, ForbiddenError, ModerationError, SettingsError
from moderation.fetch import SafeClient
from moderation.settings import Settings
from moderation.vault import Vault

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
"""Signatures that are accepted: never `none`, never one with a shared secret."""

MAX_BYTES = 500_000

ATTEMPT_SECONDS = 600

LEEWAY = 60
"""Seconds that the provider's clock may be off."""

CONTEXT = b"oidc attempt"


@dataclass(frozen=True)
class Attempt:
    """What the browser carries, encrypted, to the provider and back: no server has to remember it."""

    state: str
    nonce: str
    verifier: str
    onward: str
    ends_at: int


@dataclass(frozen=True)
class Identity:
    """Whom the provider says that it is. subject: SHA-256 of issuer and subject."""

    subject: str
    name: str
    roles: list[str]


class Provider:
    """The provider that the settings name. Its description and keys are fetched anew for each sign-in: they rotate."""

    def __init__(self, settings: Settings, client: SafeClient, vault: Vault) -> None:
        self.settings = settings
        self.client = client
        self.vault = vault
        self.issuer = settings.oidc_issuer
        self.roles = _mapping(settings.oidc_roles)
        self.redirect = f"{settings.dashboard}/sign-in/provider/back"

    def start(self, onward: str) -> tuple[str, str]:
        """Where the browser goes, and what it carries. Raises AuthenticationError where the provider does not answer."""
        verifier = secrets.token_urlsafe(48)
        ends_at = int(time.time()) + ATTEMPT_SECONDS
        attempt = Attempt(secrets.token_urlsafe(24), secrets.token_urlsafe(24), verifier, onward, ends_at)
        url: str = prepare_grant_uri(
            self._describe()["authorization_endpoint"],
            self.settings.oidc_client_id,
            "code",
            redirect_uri=self.redirect,
            scope=self.settings.oidc_scopes,
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        sealed = self.vault.encrypt(json.dumps(asdict(attempt)).encode(), CONTEXT)
        return url, base64.urlsafe_b64encode(sealed).decode()

    def finish(self, carried: str, answer: Mapping[str, str]) -> tuple[Identity, str]:
        """Who came back, and where they wanted to go. answer: the query that the provider sent them back with.

        Raises AuthenticationError for whatever does not fit, ForbiddenError for somebody without a role.
        """
        attempt = self._attempt(carried)
        if not hmac.compare_digest(attempt.state.encode(), answer.get("state", "").encode()):
            raise _refused("The answer belongs to another sign-in.")
        # RFC 9207: an answer of another provider is not taken for this one's.
        if answer.get("iss", self.issuer) != self.issuer:
            raise _refused("The answer comes from another provider.")
        if "error" in answer:
            raise _refused(f"The provider refused: {answer['error'][:60]}.")
        described = self._describe()
        tokens = self._redeem(described["token_endpoint"], answer.get("code", ""), attempt.verifier)
        claims = self._verified(str(tokens.get("id_token", "")), tokens, described["jwks_uri"], attempt.nonce)
        return self._identity(claims), attempt.onward

    def _attempt(self, carried: str) -> Attempt:
        try:
            opened = self.vault.decrypt(base64.urlsafe_b64decode(carried), CONTEXT)
            attempt = Attempt(**json.loads(opened))
        except (ValueError, ModerationError):
            raise _refused("The sign-in did not begin in this browser.") from None
        if attempt.ends_at < time.time():
            raise _refused("The sign-in took too long.")
        return attempt

    def _describe(self) -> dict[str, str]:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        described = self._json("GET", url)
        if described.get("issuer") != self.issuer:
            raise _refused("The provider describes itself as another than PALISADE_OIDC_ISSUER.")
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if not all(isinstance(described.get(name), str) for name in wanted):
            raise _refused("The provider's description lacks an address.")
        return {name: described[name] for name in wanted}

    def _redeem(self, url: str, code: str, verifier: str) -> dict[str, Any]:
        secret = self.settings.oidc_client_secret
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect,
            "client_id": self.settings.oidc_client_id,
            "code_verifier": verifier,
        }
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if secret:
            pair = f"{quote(form['client_id'], safe='')}:{quote(secret.get_secret_value(), safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return self._json("POST", url, headers, urlencode(form).encode())

    def _verified(self, token: str, tokens: Mapping[str, Any], jwks_uri: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token whose signature, issuer, audience, times and nonce are right."""
        try:
            keys = KeySet.import_key_set(self._json("GET", jwks_uri))  # type: ignore[arg-type]
            decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
            options = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self.settings.oidc_client_id},
                "nonce": {"essential": True, "value": nonce},
            }
            params = {
                "nonce": nonce,
                "client_id": self.settings.oidc_client_id,
                "access_token": tokens.get("access_token"),
            }
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(leeway=LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _refused(f"The provider's ID token does not hold: {type(error).__name__}.") from error
        return dict(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        given = claims.get(self.settings.oidc_roles_claim, [])
        values = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        roles = {self.roles[value] for value in values if isinstance(value, str) and value in self.roles}
        if not roles:
            raise ForbiddenError(
                "The provider knows you, but gives you no role here.", hint="Ask an admin of your team for a group."
            )
        subject = hashlib.sha256(f"{self.issuer}\0{claims['sub']}".encode()).hexdigest()
        verified = claims.get("email") if claims.get("email_verified") is True else None
        name = str(verified or claims.get("preferred_username") or claims["sub"])
        return Identity(subject, name, clean_roles(roles))

    def _json(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> dict[str, Any]:
        try:
            reply = self.client.request(method, url, max_bytes=MAX_BYTES, headers=headers, content=content)
            parsed = json.loads(reply.data) if reply.status == 200 else None
        except (ModerationError, ValueError) as error:
            raise _refused("The provider does not answer as it should.") from error
        if not isinstance(parsed, dict):
            raise _refused(f"The provider answered with status {reply.status}.")
        return parsed


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """From a claim's value to a role. Raises SettingsError."""
    found = {}
    for pair in pairs:
        value, _, role = pair.rpartition("=")
        try:
            (found[value.strip()],) = clean_roles([role.strip()])
        except ModerationError as error:
            raise SettingsError(f"PALISADE_OIDC_ROLES: {pair[:60]!r}: {error.message}", hint=error.hint) from None
        if not value.strip():
            raise SettingsError(f"PALISADE_OIDC_ROLES: {pair[:60]!r} names no value.", hint="Write `value=role`.")
    return found


def _refused(message: str) -> AuthenticationError:
    return AuthenticationError(message, hint="Start again; if it stays so, tell an admin.")
