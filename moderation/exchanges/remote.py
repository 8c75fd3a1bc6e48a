"""What all peers behind a URL share: their configuration, their checkpoints, and how they fail."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from moderation.errors import ExchangeError
from moderation.exchanges.changes import Page
from moderation.exchanges.transport import BrokenError, Limits

KEPT_MALFORMED = 100  # reasons a page


def _checked(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    if scheme not in ("http", "https") or not authority or set(url) & set("?#@\\ "):
        raise ValueError("it must be an https URL without credentials, query and fragment")
    if scheme == "http" and not _private(authority.rpartition(":")[0] or authority):
        raise ValueError("credentials are sent over https only, but to private addresses")
    return url.rstrip("/")


def _private(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_private
    except ValueError:
        return False


Url = Annotated[str, AfterValidator(_checked)]


class Strict(BaseModel):
    """Refuses what it does not know, and never quotes what it was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RemoteConfig(Strict):
    """What every peer behind a URL can be told; what bounds a page is no part of `identity`."""

    url: Url | None = Field(None, description="Where the peer is. Default: its public address.")
    seconds: float = Field(60.0, gt=0, le=600, description="Longest time that one page may take, in seconds.")
    max_bytes: int = Field(32_000_000, ge=1_000, le=1_000_000_000, description="Largest page, in bytes.")
    patience: float = Field(
        120.0, ge=0, le=3_600, description="Longest time to wait, page by page, for a peer that is busy, in seconds."
    )

    @property
    def limits(self) -> Limits:
        return Limits(self.seconds, self.max_bytes, self.patience)

    @property
    def identity(self) -> str:
        """A digest of what is read, and from where: a checkpoint of one identity is none of another."""
        paging = {"seconds", "max_bytes", "patience", "page_size"}
        named = f"{type(self).__name__} {self.model_dump_json(exclude=paging)}"
        return hashlib.sha256(named.encode()).hexdigest()[:16]


class Checkpoint(Strict):
    """Where to go on. of: the identity of the configuration that it belongs to."""

    of: str

    @property
    def stale(self) -> bool:
        """Whether it is so old that the peer may have forgotten withdrawals since."""
        return False

    @classmethod
    def read(cls, text: str | None, of: str) -> Self | None:
        """The checkpoint that `text` holds; None where there is none that can be gone on from."""
        try:
            read = cls.model_validate_json(text or "")
        except ValidationError:
            return None
        return read if read.of == of and not read.stale else None


class RemotePeer(ABC):
    """A peer whose pages are read one by one; where that fails, the pages before count."""

    checkpoint: ClassVar[type[Checkpoint]]

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def pages(self, checkpoint: str | None) -> Iterator[Page]:
        """See `Peer.pages`."""
        return told(self.name, self._pages(checkpoint))

    @abstractmethod
    def _pages(self, checkpoint: str | None) -> Iterator[Page]:
        """The pages. Raises BrokenError."""


def told(name: str, pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages, whose BrokenError becomes an ExchangeError naming the peer and the page.

    It is raised outside the handler, so that no trace leads to a request, whose URL may hold a token.
    """
    number, failure = 1, None
    while failure is None:
        try:
            page = next(pages, None)
        except BrokenError as error:
            failure = error
            continue
        if page is None:
            return
        yield page
        number += 1
    raise ExchangeError(
        f"Exchange {name}: page {number} of this run could not be read: {failure.what}.",
        peer=name,
        page=number,
        retry_after=failure.retry_after,
        hint=failure.hint,
    )


def now() -> int:
    """This second."""
    return int(time.time())


def shortened(reasons: list[str]) -> tuple[str, ...]:
    """The first reasons, and how many more there are."""
    more = len(reasons) - KEPT_MALFORMED
    return (*reasons[:KEPT_MALFORMED], *([f"and {more:,} more"] if more > 0 else ()))


def shape(value: object, kind: type[Any], what: str) -> Any:
    """The value, where it is of that type. Raises BrokenError naming `what` where not."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BrokenError(
            f"{what} is {type(value).__name__}, not {kind.__name__}", "Tell the peer, or update Palisade."
        )
    return value
