"""The one way out: an HTTP client that cannot be turned against the network it runs in (SSRF)."""

import re
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from moderation.addresses import Guard, Resolve, resolve
from moderation.errors import FetchError
from moderation.settings import PREFIX, Settings

REDIRECTS = frozenset((301, 302, 303, 307, 308))
WRITE_BYTES = 65_536
AGENT = "palisade"

# Compressed bodies are unpacked here, bounded; nothing else is asked for or accepted.
ENCODINGS = frozenset(("gzip", "x-gzip", "deflate"))


@dataclass(frozen=True)
class Fetched:
    """A file behind a URL. content_type: as the server said it, '' where it said none. final_url: after redirects."""

    data: bytes
    content_type: str
    final_url: str


@dataclass(frozen=True)
class Reply:
    """What a server answered, whatever its status. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class SafeClient:
    """Speaks HTTP and HTTPS to public addresses, and to those in `fetch_allowed_networks`. Safe to share.

    Every host is resolved once and connected to at the very address that was checked. Proxies, `.netrc` and the rest
    of the environment are ignored, connections are never reused, and a URL may not hold credentials. Public hosts are
    reached on ports 80, 443, 8080 and 8443; allowed networks on any.

    find: resolves a host name, for tests. tls: the certificates that are trusted; certifi's by default.
    """

    def __init__(self, settings: Settings, *, find: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self.seconds = settings.fetch_seconds
        self.redirects = settings.fetch_redirects
        self._guard = Guard(settings.fetch_allowed_networks, find)
        self._tls = tls or httpx.create_ssl_context(trust_env=False)

    def fetch(self, url: str, *, max_bytes: int) -> Fetched:
        """The file at `url`, following redirects, each checked like the first URL.

        Raises FetchError: `fetch_refused` for a URL, an address or a redirect that is not allowed, `fetch_too_large`
        (413), `fetch_timeout` where everything together takes longer than `fetch_seconds`, and `fetch_failed` for a
        status other than 200 and for everything that goes wrong on the way.
        """
        clock, target = _Clock(self.seconds, url), _parse(url)
        for _ in range(self.redirects + 1):
            with self._answer("GET", target, clock, {"accept": "image/*"}, b"") as response:
                location = response.headers.get("location")
                if response.status_code in REDIRECTS and location:
                    target = _join(target, location)
                    continue
                if response.status_code != 200:
                    raise FetchError(
                        f"{shown(target)} answered with status {response.status_code} instead of the file.",
                        hint="Check that the URL is public and still there.",
                    )
                data = _read(response, max_bytes, shown(target))
                return Fetched(data, response.headers.get("content-type", ""), str(target))
        raise FetchError(
            f"{shown(_parse(url))} redirects more than {self.redirects} times ({PREFIX}FETCH_REDIRECTS).",
            code="fetch_refused",
            hint="Give the URL that it ends at.",
        )

    def request(
        self,
        method: str,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        seconds: float | None = None,
    ) -> Reply:
        """One request, whose answer is returned whatever its status; redirects are not followed.

        max_bytes: of the answer's body. Raises FetchError as `fetch` does, but for a status.
        """
        clock, target = _Clock(seconds or self.seconds, url), _parse(url)
        with self._answer(method, target, clock, headers or {}, content) as response:
            data = _read(response, max_bytes, shown(target))
            return Reply(response.status_code, dict(response.headers), data)

    @contextmanager
    def _answer(
        self, method: str, target: httpx.URL, clock: "_Clock", headers: Mapping[str, str], content: bytes
    ) -> Iterator[httpx.Response]:
        own = {"user-agent": AGENT, "accept-encoding": "identity", "connection": "close"}
        request = httpx.Request(method, target, headers={**own, **headers}, content=content)
        try:
            with (
                _Transport(self._guard, clock, self._tls) as transport,
                closing(transport.handle_request(request)) as response,
            ):
                yield response
        except httpcore.TimeoutException:
            raise clock.timeout() from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchError(
                f"{shown(target)} could not be fetched: {str(error) or type(error).__name__}.",
                hint="Check the URL and its server, and try again.",
            ) from error


def check_url(url: str) -> None:
    """Raises FetchError where an address can never be fetched; its host is looked up only when it is."""
    _parse(url)


def shown(url: httpx.URL) -> str:
    """A URL as it may appear in messages and logs: without credentials, query and fragment, at most 200 characters."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}{url.path}"[:200]


class _Clock:
    """The time that a whole fetch may take, redirects included."""

    def __init__(self, seconds: float, url: str) -> None:
        self.seconds, self.url = seconds, url
        self._end = time.monotonic() + seconds

    def within(self, timeout: float | None = None) -> float:
        """Seconds left, more than 0 and at most `timeout`. Raises FetchError once there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.timeout()
        return left if timeout is None else min(left, timeout)

    def timeout(self) -> FetchError:
        return FetchError(
            f"{shown(_parse(self.url))} took longer than {self.seconds:g} s ({PREFIX}FETCH_SECONDS).",
            code="fetch_timeout",
            hint="Try again, or upload the file itself.",
        )


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends with the clock, so that no drip of bytes outlives it."""

    def __init__(self, inner: httpcore.NetworkStream, clock: _Clock) -> None:
        self._inner, self._clock = inner, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITE_BYTES):
            self._inner.write(buffer[start : start + WRITE_BYTES], self._clock.within(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._clock.within(timeout)), self._clock)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects to the addresses that the guard let through. Host header, SNI and certificate stay with the name."""

    def __init__(self, guard: Guard, clock: _Clock) -> None:
        self._guard, self._clock = guard, clock
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._guard.addresses(host, port, self._clock.within(timeout))

        def connect(address: str) -> httpcore.NetworkStream:
            left = self._clock.within(timeout)
            return _Stream(self._sockets.connect_tcp(address, port, left, local_address, socket_options), self._clock)

        for address in others:
            try:
                return connect(address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # the next address may answer; it is the last one's error that is told
        return connect(last)


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpx.BaseTransport):
    """httpx's requests over connections of `_Backend`, none of which is kept."""

    def __init__(self, guard: Guard, clock: _Clock, tls: ssl.SSLContext) -> None:
        backend = _Backend(guard, clock)
        self._pool = httpcore.ConnectionPool(ssl_context=tls, max_keepalive_connections=0, network_backend=backend)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        response = self._pool.handle_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, content=request.read())
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def close(self) -> None:
        self._pool.close()


def _parse(url: str) -> httpx.URL:
    """The URL, checked for what can be said without resolving its host."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise _refused(f"The URL of {len(url):,} characters is not valid: {_quiet(str(error))}.") from None
    if parsed.scheme not in ("http", "https"):
        raise _refused(f"The URL's scheme is {parsed.scheme[:20]!r}; only http and https are fetched.")
    if not parsed.host:
        raise _refused(f"The URL {shown(parsed)} names no host.")
    if parsed.userinfo:
        raise _refused(f"The URL {shown(parsed)} holds a user name or password, which are never sent.")
    return parsed


def _join(base: httpx.URL, location: str) -> httpx.URL:
    try:
        joined = str(base.join(location))
    except httpx.InvalidURL:
        raise _refused(f"{shown(base)} redirects to what is not a URL.") from None
    return _parse(joined)


def _quiet(text: str) -> str:
    """An error's text without the quotations of the URL, which may hold secrets."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", text).rstrip(".")


def _refused(message: str) -> FetchError:
    return FetchError(message, code="fetch_refused", hint="Give a public http or https URL of an image.")


def _read(response: httpx.Response, max_bytes: int, name: str) -> bytes:
    """The body, unpacked, both packed and unpacked within `max_bytes`."""
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(name, f"{int(announced):,}", max_bytes)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    unpack = _unpacker(encoding, name)
    data, received = bytearray(), 0
    for part in response.iter_raw():
        received += len(part)
        try:
            data += unpack.decompress(part, max_bytes + 1 - len(data)) if unpack else part
        except zlib.error as error:
            raise FetchError(f"{name} sent a body that is not {encoding}: {error}.", hint="Try again.") from None
        if max(received, len(data)) > max_bytes:
            raise _too_large(name, f"more than {max_bytes:,}", max_bytes)
    if unpack and received and not unpack.eof:
        raise FetchError(f"{name} sent a {encoding} body that is cut off.", hint="Try again.")
    return bytes(data)


def _unpacker(encoding: str, name: str) -> "zlib._Decompress | None":
    """What unpacks a body of that encoding: None for a body that is not packed."""
    if encoding in ("", "identity"):
        return None
    if encoding not in ENCODINGS:
        raise FetchError(
            f"{name} sent its body as {encoding[:20]!r}, though it was asked for as it is.",
            hint="Have the server send images without a content encoding.",
        )
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, as its header says


def _too_large(name: str, size: str, max_bytes: int) -> FetchError:
    return FetchError(
        f"{name} has {size} bytes, the limit is {max_bytes:,}.",
        code="fetch_too_large",
        status=413,
        hint="Give the URL of a smaller file.",
    )
