"""Fetching URLs: what is fetched, and what is refused, against real servers on this machine."""

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moderation.errors import FetchError
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests import hostile

BODY = hostile.sample("PNG")
LIMIT = 100_000


class Handler(BaseHTTPRequestHandler):
    """Answers by path; `seen` collects the requests."""

    seen: list[tuple[str, str, dict[str, str]]]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        type(self).seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        name = self.path.split("?")[0].strip("/").split("/")[0]
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"answer_{name}", self.answer_missing)()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send(201, b"got " + body, {"x-kind": self.headers["x-kind"]})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"content-length": str(len(body)), "connection": "close", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_image(self) -> None:
        self.send(200, BODY, {"content-type": "image/png"})

    def answer_missing(self) -> None:
        self.send(404, b"missing")

    def answer_redirect(self) -> None:
        """Redirects to whatever follows in the path or, percent-decoded by nobody, in the query."""
        self.send(302, b"", {"location": self.path.split("?to=", 1)[1]})

    def answer_loop(self) -> None:
        self.send(301, b"", {"location": "/loop"})

    def answer_announced(self) -> None:
        self.send(200, b"", {"content-length": str(LIMIT + 1)})

    def answer_endless(self) -> None:
        self.send_response(200)
        self.send_header("connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(bytes(50_000))

    def answer_drip(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def answer_dripping_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def answer_silence(self) -> None:
        time.sleep(1.5)

    def answer_short(self) -> None:
        self.send(200, BODY[:50], {"content-length": str(len(BODY))})

    def answer_gzip(self) -> None:
        self.send(200, gzip.compress(BODY), {"content-encoding": "gzip"})

    def answer_deflate(self) -> None:
        self.send(200, zlib.compress(BODY), {"content-encoding": "deflate"})

    def answer_gzip_bomb(self) -> None:
        self.send(200, gzip.compress(bytes(50_000_000)), {"content-encoding": "gzip"})

    def answer_gzip_cut(self) -> None:
        self.send(200, gzip.compress(BODY)[:-20], {"content-encoding": "gzip"})

    def answer_gzip_false(self) -> None:
        self.send(200, BODY, {"content-encoding": "gzip"})

    def answer_brotli(self) -> None:
        self.send(200, BODY, {"content-encoding": "br"})

    def answer_nonsense(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")


def serve(tls: ssl.SSLContext | None = None) -> tuple[ThreadingHTTPServer, type[Handler]]:
    handler = type("Own", (Handler,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server, handler


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    running, _ = serve()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def base(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def client(
    find: Callable[[str, int], Sequence[str]] | None = None, *, allow: str = "127.0.0.1/32", **options: Any
) -> SafeClient:
    settings = Settings(_env_file=None, fetch_allowed_networks=allow, fetch_seconds=options.pop("seconds", 5.0))
    return SafeClient(settings, **({"find": find} if find else {}), **options)


def refusal(url: str, using: SafeClient | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        (using or client()).fetch(url, max_bytes=LIMIT)
    assert caught.value.hint
    assert caught.value.message.endswith(".")
    return caught.value


class TestFetching:
    def test_a_file_is_fetched(self, base: str) -> None:
        fetched = client().fetch(f"{base}/image?size=9", max_bytes=LIMIT)

        assert fetched.data == BODY
        assert fetched.content_type == "image/png"
        assert fetched.final_url == f"{base}/image?size=9"

    def test_a_body_of_exactly_the_limit_is_fetched(self, base: str) -> None:
        assert client().fetch(f"{base}/image", max_bytes=len(BODY)).data == BODY
        with pytest.raises(FetchError):
            client().fetch(f"{base}/image", max_bytes=len(BODY) - 1)

    def test_redirects_are_followed(self, base: str) -> None:
        fetched = client().fetch(f"{base}/redirect?to=/redirect?to={base}/image", max_bytes=LIMIT)

        assert fetched.data == BODY
        assert fetched.final_url == f"{base}/image"

    def test_the_host_header_keeps_the_name_and_nothing_packed_is_asked_for(self) -> None:
        running, handler = serve()

        client(lambda host, port: ["127.0.0.1"]).fetch(
            f"http://images.test:{running.server_port}/image", max_bytes=LIMIT
        )

        method, path, headers = handler.seen[0]
        assert (method, path) == ("GET", "/image")
        assert headers["host"] == f"images.test:{running.server_port}"
        assert headers["accept-encoding"] == "identity"
        running.shutdown()
        running.server_close()

    @pytest.mark.parametrize("path", ["gzip", "deflate"])
    def test_packed_bodies_are_unpacked(self, base: str, path: str) -> None:
        assert client().fetch(f"{base}/{path}", max_bytes=LIMIT).data == BODY

    def test_proxies_of_the_environment_are_ignored(self, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert client().fetch(f"{base}/image", max_bytes=LIMIT).data == BODY

    def test_a_request_returns_any_status_and_follows_nothing(self, base: str) -> None:
        reply = client().request("POST", f"{base}/hook", max_bytes=99, headers={"x-kind": "a"}, content=b"event")
        assert (reply.status, reply.data, reply.headers["x-kind"]) == (201, b"got event", "a")

        assert client().request("GET", f"{base}/missing", max_bytes=99).status == 404
        assert client().request("GET", f"{base}/loop", max_bytes=99).status == 301


class TestFailures:
    @pytest.mark.parametrize(
        ("path", "code", "said"),
        [
            ("missing", "fetch_failed", "status 404"),
            ("short", "fetch_failed", "could not be fetched"),
            ("nonsense", "fetch_failed", "could not be fetched"),
            ("gzip_cut", "fetch_failed", "cut off"),
            ("gzip_false", "fetch_failed", "is not gzip"),
            ("brotli", "fetch_failed", "'br'"),
            ("loop", "fetch_refused", "more than 3 times (PALISADE_FETCH_REDIRECTS)"),
            ("announced", "fetch_too_large", "100,001 bytes, the limit is 100,000"),
            ("endless", "fetch_too_large", "more than 100,000"),
            ("gzip_bomb", "fetch_too_large", "more than 100,000"),
        ],
    )
    def test_what_each_answer_gets(self, base: str, path: str, code: str, said: str) -> None:
        error = refusal(f"{base}/{path}")

        assert error.error_code == code
        assert said in error.message
        assert error.http_status == (413 if code == "fetch_too_large" else 422)

    @pytest.mark.parametrize("path", ["drip", "dripping_headers", "silence"])
    def test_slow_servers_are_left_in_time(self, base: str, path: str) -> None:
        started = time.monotonic()

        error = refusal(f"{base}/{path}", client(seconds=0.4))

        assert error.error_code == "fetch_timeout"
        assert "0.4 s (PALISADE_FETCH_SECONDS)" in error.message
        assert time.monotonic() - started < 1.2

    def test_the_time_covers_all_redirects(self, base: str) -> None:
        error = refusal(f"{base}/redirect?to=/drip", client(seconds=0.3))

        assert error.error_code == "fetch_timeout"

    def test_a_slow_resolver_is_left_in_time(self) -> None:
        def slow(host: str, port: int) -> list[str]:
            time.sleep(1)
            return ["127.0.0.1"]

        started = time.monotonic()

        assert refusal("http://slow.test/", client(slow, seconds=0.2)).error_code == "fetch_timeout"
        assert time.monotonic() - started < 0.9

    def test_a_server_that_is_down_is_a_failure(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]

        assert refusal(f"http://127.0.0.1:{port}/").error_code == "fetch_failed"

    def test_a_name_without_address_is_a_failure(self) -> None:
        def unknown(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        for find in (unknown, lambda host, port: []):
            error = refusal("http://nowhere.test/", client(find))
            assert error.error_code == "fetch_failed"
            assert "nowhere.test" in error.message

    def test_secrets_stay_out_of_messages(self, base: str) -> None:
        for url in (f"{base}/missing?token=s3cret#s3cret", "http://user:s3cret@example.com/", "http://user:s3cret?@a/"):
            assert "s3cret" not in refusal(url).message


class TestAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://0/",
            "http://0.0.0.0/",
            "http://localhost/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fec0::1]/",
            "http://[fd00::1]/",
            "http://[ff02::1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[64:ff9b:1::a00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:7f00:1::]/",
            "http://[2001:db8::1]/",
            "http://[2a00::5efe:a00:1]/",
        ],
    )
    def test_what_is_not_public_is_refused(self, url: str) -> None:
        error = refusal(url, client(allow=""))

        assert error.error_code == "fetch_refused"
        assert "not a public address" in error.message or "not valid" in error.message

    def test_one_private_address_among_public_ones_is_enough(self) -> None:
        for answers in (["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["2606:4700::1111", "::1"]):
            error = refusal("http://mixed.test/", client(lambda host, port, answers=answers: answers, allow=""))
            assert error.error_code == "fetch_refused"

    def test_the_address_that_was_checked_is_the_one_connected_to(self, server: ThreadingHTTPServer) -> None:
        """DNS rebinding: a name that is allowed when it is checked and private when it is asked for again."""
        asked: list[str] = []

        def rebinding(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

        fetched = client(rebinding).fetch(f"http://rebind.test:{server.server_port}/image", max_bytes=LIMIT)

        assert fetched.data == BODY
        assert asked == ["rebind.test"]

    def test_every_redirect_is_resolved_and_checked_anew(self, server: ThreadingHTTPServer) -> None:
        def rebinding(host: str, port: int) -> list[str]:
            return {"first.test": ["127.0.0.1"], "second.test": ["10.0.0.1"]}[host]

        error = refusal(f"http://first.test:{server.server_port}/redirect?to=http://second.test/", client(rebinding))

        assert error.error_code == "fetch_refused"
        assert "second.test has the address 10.0.0.1" in error.message

    @pytest.mark.parametrize(
        "target",
        [
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
            "gopher://127.0.0.1/",
            "http://169.254.169.254/",
            "http://[::1]/",
            "//10.0.0.1/",
            "http://user:pw@127.0.0.1/",
            "http://",
            "data:image/png;base64,AA",
        ],
    )
    def test_redirects_elsewhere_are_refused(self, base: str, target: str) -> None:
        error = refusal(f"{base}/redirect?to={target}")

        assert error.error_code == "fetch_refused"
        assert "pw" not in error.message

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "image.png",
            "/etc/passwd",
            "file:///etc/passwd",
            "ftp://example.com/a",
            "http://",
            "http:///a",
            "http://user@example.com/",
            "http://user:pw@example.com/",
            "http://exa mple.com:port/",
            "http://[::1/",
            "http://example.com\n/",
            "HTTP://" + "a" * 70_000,
        ],
    )
    def test_what_is_not_a_url_to_fetch_is_refused(self, url: str) -> None:
        assert refusal(url).error_code in ("fetch_refused", "fetch_failed")

    def test_allowed_networks_are_the_only_exception(self, base: str) -> None:
        assert client(allow="10.0.0.0/8,127.0.0.0/8").fetch(f"{base}/image", max_bytes=LIMIT).data == BODY
        assert refusal(f"{base}/image", client(allow="10.0.0.0/8")).error_code == "fetch_refused"
        assert refusal(f"{base}/image", client(allow="::/0")).error_code == "fetch_refused"

    def test_the_next_address_is_tried_where_one_is_down(self, server: ThreadingHTTPServer) -> None:
        both = client(lambda host, port: ["127.0.0.2", "127.0.0.1"], allow="127.0.0.0/8")

        assert both.fetch(f"http://two.test:{server.server_port}/image", max_bytes=LIMIT).data == BODY


def certificate(name: str, folder: Path) -> Path:
    """A self-signed certificate of `name`, with its key, as a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(pem))
    return path


class TestTls:
    def test_the_certificate_is_checked_for_the_name(self, tmp_path: Path) -> None:
        path = certificate("images.test", tmp_path)
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(path)
        names: list[str | None] = []
        theirs.sni_callback = lambda connection, name, context: names.append(name)
        running, _ = serve(theirs)
        ours = ssl.create_default_context(cafile=str(path))
        here = client(lambda host, port: ["127.0.0.1"], tls=ours)

        assert here.fetch(f"https://images.test:{running.server_port}/image", max_bytes=LIMIT).data == BODY
        assert names == ["images.test"]
        assert "certificate" in refusal(f"https://other.test:{running.server_port}/image", here).message
        stranger = client(lambda host, port: ["127.0.0.1"])
        assert "certificate" in refusal(f"https://images.test:{running.server_port}/image", stranger).message
        running.shutdown()
        running.server_close()
