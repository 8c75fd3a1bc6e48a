"""How often something may be done: counted in this process, or in Redis for all of them."""

import math
import time

import structlog
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from moderation.errors import RateLimitError, SettingsError

log = structlog.get_logger(__name__)


class Rate:
    """A rate such as `600/minute`, for each of many who. setting: the variable that it was read from, for messages."""

    def __init__(self, text: str, storage_url: str, *, setting: str) -> None:
        self.limit = _parse(text, setting)
        self.setting = setting
        self.limiter = MovingWindowRateLimiter(_storage(storage_url))
        self.fallback = MovingWindowRateLimiter(MemoryStorage())

    def count(self, who: str, *, what: str) -> None:
        """Count once more for `who`. Raises RateLimitError, naming `what` they did too often."""
        try:
            self._hit(self.limiter, who, what)
        except StorageError as error:
            # Work does not stop because the counter is down: each process counts for itself meanwhile.
            log.warning("rate limit storage failed", error=str(error))
            self._hit(self.fallback, who, what)

    def _hit(self, limiter: MovingWindowRateLimiter, who: str, what: str) -> None:
        if limiter.hit(self.limit, self.setting, who):
            return
        reset = limiter.get_window_stats(self.limit, self.setting, who).reset_time
        raise RateLimitError(
            f"{what} more than {self.limit.amount} times in {self.limit.get_expiry()} s.",
            retry_after=max(1, math.ceil(reset - time.time())),
            hint=f"Wait as Retry-After says, or raise {self.setting}.",
        )


def _parse(text: str, setting: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError:
        raise SettingsError(f"{setting} = {text!r} is not a rate.", hint="Write it as `600/minute`.") from None


def _storage(url: str) -> Storage:
    try:
        storage = storage_from_string(url, wrap_exceptions=True)
    except ConfigurationError as error:
        raise SettingsError(
            f"PALISADE_RATE_LIMIT_STORAGE cannot be used: {error}.", hint="Write `memory://` or `redis://host:6379`."
        ) from None
    if not isinstance(storage, Storage):
        raise SettingsError("PALISADE_RATE_LIMIT_STORAGE is asynchronous.", hint="Write `redis://host:6379`.")
    return storage
