"""Who calls: API keys, and the person at this machine where keys are not required."""

import math
import time
from urllib.parse import urlsplit

import structlog
from fastapi import Request
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from moderation.errors import AuthenticationError, ForbiddenError, RateLimitError, SettingsError
from moderation.keys.service import LOCAL_CALLER, Caller, KeyService
from moderation.settings import Settings

log = structlog.get_logger(__name__)

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "testserver")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Gate:
    """Lets requests in: knows the caller by its key, and counts its requests."""

    def __init__(self, settings: Settings, keys: KeyService) -> None:
        self.required = settings.require_key
        self.keys = keys
        self.limit = parse_rate(settings.rate_limit)
        self.limiter = MovingWindowRateLimiter(parse_storage(settings.rate_limit_storage))
        self.fallback = MovingWindowRateLimiter(MemoryStorage())

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
        self._count(caller)
        return caller

    def _count(self, caller: Caller) -> None:
        try:
            self._hit(self.limiter, caller)
        except StorageError as error:
            # Uploads do not stop because the counter is down: each process counts for itself meanwhile.
            log.warning("rate limit storage failed", error=str(error))
            self._hit(self.fallback, caller)

    def _hit(self, limiter: MovingWindowRateLimiter, caller: Caller) -> None:
        if limiter.hit(self.limit, caller.key_id):
            return
        reset = limiter.get_window_stats(self.limit, caller.key_id).reset_time
        raise RateLimitError(
            f"This key made more than {self.limit.amount} requests in {self.limit.get_expiry()} s.",
            retry_after=max(1, math.ceil(reset - time.time())),
            hint="Wait as Retry-After says, or raise PALISADE_RATE_LIMIT.",
        )


def parse_rate(text: str) -> RateLimitItem:
    """A rate such as `600/minute`. Raises SettingsError."""
    try:
        return parse(text)
    except ValueError:
        raise SettingsError(
            f"PALISADE_RATE_LIMIT = {text!r} is not a rate.", hint="Write it as `600/minute`."
        ) from None


def parse_storage(url: str) -> Storage:
    """Where requests are counted. Raises SettingsError."""
    try:
        storage = storage_from_string(url, wrap_exceptions=True)
    except ConfigurationError as error:
        raise SettingsError(
            f"PALISADE_RATE_LIMIT_STORAGE cannot be used: {error}.", hint="Write `memory://` or `redis://host:6379`."
        ) from None
    if not isinstance(storage, Storage):
        raise SettingsError("PALISADE_RATE_LIMIT_STORAGE is asynchronous.", hint="Write `redis://host:6379`.")
    return storage


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
