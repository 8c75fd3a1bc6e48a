"""What the domain refuses, each error with its stable code and HTTP status."""

from typing import Any, ClassVar

from detectors.errors import ModelError, ModerationError

__all__ = [
    "AuthenticationError",
    "ConflictError",
    "ExchangeError",
    "FetchError",
    "ForbiddenError",
    "InvalidRequestError",
    "MediaError",
    "ModelError",
    "ModerationError",
    "NotFoundError",
    "PolicyError",
    "RateLimitError",
    "SettingsError",
    "StorageError",
    "TooLargeError",
]


class MediaError(ModerationError):
    """The bytes are not an image that may be scanned: `code` says which limit they break (415, 413 or 422)."""

    code = "media_invalid"
    status = 422


class PolicyError(ModerationError):
    """A policy cannot be loaded. `file`, `line` and `field` say where."""

    code = "policy_invalid"
    status = 422

    def __init__(self, message: str, *, file: str = "", line: int = 0, field: str = "", hint: str = "") -> None:
        where = ":".join(part for part in (file, str(line) if line else "", f" {field}" if field else "") if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.file, self.line, self.field = file, line, field


class SettingsError(ModerationError):
    """A setting has a value that cannot be used."""

    code = "settings_invalid"


class InvalidRequestError(ModerationError):
    code = "request_invalid"
    status = 422


class AuthenticationError(ModerationError):
    code = "unauthenticated"
    status = 401


class ForbiddenError(ModerationError):
    code = "forbidden"
    status = 403


class NotFoundError(ModerationError):
    code = "not_found"
    status = 404


class ConflictError(ModerationError):
    code = "conflict"
    status = 409


class TooLargeError(ModerationError):
    code = "too_large"
    status = 413


class RateLimitError(ModerationError):
    """Too many requests; `retry_after` is in seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after: int, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.retry_after = retry_after


class FetchError(ModerationError):
    """A URL may not or could not be fetched."""

    code = "fetch_failed"
    status: ClassVar[int] = 422


class ExchangeError(ModerationError):
    """A signal exchange could not be read on. `peer` and `page` (from 1, of this run) say where it stopped.

    retry_after: seconds that the peer asked to be left alone, or 0.
    """

    code = "exchange_failed"
    status = 502

    def __init__(self, message: str, *, peer: str, page: int, retry_after: float = 0, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.peer, self.page, self.retry_after = peer, page, retry_after


class StorageError(ModerationError):
    """An image could not be kept or read back."""

    code = "storage_failed"
    status = 503
