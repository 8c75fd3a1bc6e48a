"""How the `threatexchange` library reaches its peers: `requests` over the one SSRF-safe client."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any

import httpx
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from moderation.errors import FetchError
from moderation.fetch import Reply, SafeClient

BUSY = frozenset((429, 503))
FORGOTTEN = frozenset((400, 404, 410))  # how the link of a page is answered that is no longer known
TRIES = 6
FIRST_WAIT = 1.0  # seconds, doubled each time
SENT = ("accept", "authorization", "content-type", "ocp-apim-subscription-key", "x-functions-key")


class BrokenError(Exception):
    """A peer did not answer as it should: `what` it did and a `hint`, both free of credentials."""

    def __init__(self, what: str, hint: str = "", *, retry_after: float = 0, status: int = 0) -> None:
        super().__init__(what)
        self.what, self.retry_after, self.status = what, retry_after, status
        self.hint = hint or "Run it again later; it goes on where it stopped."


@dataclass(frozen=True)
class Limits:
    """seconds: that one page may take. max_bytes: of one page. patience: seconds to wait for a busy peer, a page."""

    seconds: float = 60.0
    max_bytes: int = 32_000_000
    patience: float = 120.0


class SafeAdapter(BaseAdapter):
    """Sends the requests of a `requests` session to one server through `SafeClient`, and nowhere else.

    A busy peer (429, 503) is asked again, after as long as it says or ever longer, within `limits.patience`.
    Raises BrokenError for every answer but 200, redirects included, and for every failure on the way.
    """

    def __init__(
        self,
        client: SafeClient,
        base: str,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._client, self._origin, self._limits = client, _origin(base), limits
        self._clock, self._sleep = clock, sleep

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        """The answer, whole. The session's own ideas of timeouts, proxies and certificates are not heeded."""
        if _origin(request.url or "") != self._origin:
            raise BrokenError("it named a page on another server, which is never asked", "Tell the peer.")
        reply = self._patiently(request)
        if reply.status != 200:
            raise _refusal(reply.status)
        return _response(request, reply)

    def close(self) -> None:
        """Connections are not kept, so there is nothing to close."""

    def _patiently(self, request: requests.PreparedRequest) -> Reply:
        waited = 0.0
        for attempt in range(TRIES):
            reply = self._once(request)
            if reply.status not in BUSY:
                return reply
            pause = self._asked(reply)
            wait = FIRST_WAIT * 2**attempt if pause is None else pause
            if attempt == TRIES - 1 or waited + wait > self._limits.patience:
                break
            self._sleep(wait)
            waited += wait
        asked = f" and asks for {wait:.0f} s of rest" if pause is not None else ""
        raise BrokenError(
            f"it is busy (status {reply.status}){asked}",
            retry_after=wait if pause is not None else 0,
            status=reply.status,
        )

    def _once(self, request: requests.PreparedRequest) -> Reply:
        headers = {name.lower(): str(value) for name, value in request.headers.items() if name.lower() in SENT}
        body = request.body or b""
        try:
            return self._client.request(
                request.method or "GET",
                request.url or "",
                max_bytes=self._limits.max_bytes,
                headers={**headers, "accept-encoding": "gzip"},
                content=body if isinstance(body, bytes) else str(body).encode(),
                seconds=self._limits.seconds,
            )
        except FetchError as error:
            failure = self._failure(error)
        raise failure

    def _failure(self, error: FetchError) -> BrokenError:
        if error.error_code == "fetch_timeout":
            return BrokenError(f"it did not answer within {self._limits.seconds:g} s")
        if error.error_code == "fetch_too_large":
            return BrokenError(
                f"its page is larger than {self._limits.max_bytes:,} bytes",
                "Ask for smaller pages, or raise max_bytes.",
            )
        hint = error.hint if error.error_code == "fetch_refused" else ""
        return BrokenError(error.message.rstrip("."), hint)

    def _asked(self, reply: Reply) -> float | None:
        """Seconds that the peer asks to wait, from its Retry-After: a number, or a date."""
        said = reply.headers.get("retry-after", "").strip()
        if said.isascii() and said.isdecimal():
            return float(said[:9])
        try:
            moment = parsedate_to_datetime(said)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - self._clock())


def session(adapter: SafeAdapter) -> requests.Session:
    """A session whose every request goes through the adapter, and which takes nothing from the environment."""
    made = requests.Session()
    made.adapters.clear()
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    made.trust_env = False
    return made


def fetched(opened: requests.Session, url: str, params: Mapping[str, Any] | None = None) -> requests.Response:
    """The page at `url`. Raises BrokenError, also where it is no URL, whose error would show all of it."""
    with suppress(requests.RequestException):
        return opened.get(url, params=params)
    raise BrokenError("it named a page that has no valid URL", "Tell the peer.")


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of a URL; None where it is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    return parsed.scheme, parsed.host, parsed.port


def _refusal(status: int) -> BrokenError:
    if status in (401, 403):
        return BrokenError(
            f"it refuses the credentials (status {status})",
            "Check the credentials, and that this machine's address is registered with the peer.",
            status=status,
        )
    if 300 <= status < 400:
        return BrokenError(f"it redirects (status {status}), which is not followed", "Check its URL.", status=status)
    return BrokenError(f"it answered with status {status}", status=status)


def _response(request: requests.PreparedRequest, reply: Reply) -> requests.Response:
    """requests' own form of an answer whose body is unpacked already."""
    made = requests.Response()
    made.request, made.url, made.status_code = request, request.url or "", reply.status
    packed = ("content-encoding", "content-length", "transfer-encoding")
    made.headers = CaseInsensitiveDict({name: value for name, value in reply.headers.items() if name not in packed})
    made.encoding = "utf-8"
    made.raw = BytesIO(reply.data)
    return made
