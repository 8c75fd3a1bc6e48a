"""Who calls: API keys, and the person at this machine where keys are not required."""

from urllib.parse import urlsplit

from fastapi import Request

from moderation.errors import AuthenticationError, ForbiddenError
from moderation.keys.service import LOCAL_CALLER, Caller, KeyService
from moderation.rates import Rate
from moderation.settings import Settings

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "testserver")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Gate:
    """Lets requests in: knows the caller by its key, and counts its requests."""

    def __init__(self, settings: Settings, keys: KeyService) -> None:
        self.required = settings.require_key
        self.keys = keys
        self.rate = Rate(settings.rate_limit, settings.rate_limit_storage, setting="PALISADE_RATE_LIMIT")

    def caller(self, request: Request) -> Caller:
        """The caller of a request. Raises AuthenticationError, ForbiddenError or RateLimitError."""
        secret = _secret(request)
        if secret is None:
            if self.required:
                raise AuthenticationError(
                    "The request carries no API key.",
                    hint="Send `Authorization: Bearer <key>`; see `palisade keys create`.",
                )
            return _local(request)
        caller = self.keys.authenticate(secret)
        self.rate.count(caller.key_id, what="This key made requests")
        return caller


def _secret(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    kind, _, secret = header.partition(" ")
    if not header:
        return request.headers.get("x-api-key")
    if kind.lower() != "bearer" or not secret:
        raise AuthenticationError(
            "The Authorization header is not a bearer key.", hint="Send `Authorization: Bearer <key>`."
        )
    return secret.strip()


def _local(request: Request) -> Caller:
    """Keyless requests are of the person at this machine.

    Not through a proxy, not by another name (DNS rebinding), and not from another site's page in the same browser.
    """
    origin = request.headers.get("origin")
    if any(name in request.headers for name in FORWARDED):
        why = "not through a proxy"
    elif request.url.hostname not in LOCAL_HOSTS:
        why = f"not as {request.url.hostname!r}"
    elif origin is not None and urlsplit(origin).netloc != request.url.netloc:
        why = f"not to pages of {origin!r}"
    else:
        return LOCAL_CALLER
    raise ForbiddenError(
        f"This server answers without a key on this machine only, {why}.",
        hint="Run `palisade serve` without `--local`, and make a key with `palisade keys create`.",
    )
