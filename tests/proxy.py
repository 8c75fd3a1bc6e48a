"""A small HTTP proxy for tests: before several servers by turns, as a load balancer without sticky sessions is."""

import http.client
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


class Proxy(ThreadingHTTPServer):
    """mode: `through`; `away` (takes no request on) or `swallow` (takes it on, and loses the answer), both for POST only.

    served: requests by server.
    """

    daemon_threads = True

    def __init__(self, servers: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.mode = "through"
        self.served: Counter[str] = Counter()
        self._turns = itertools.cycle(servers)
        self._lock = threading.Lock()

    def next(self) -> str:
        with self._lock:
            chosen = next(self._turns)
            self.served[chosen] += 1
            return chosen

    def handle_error(self, *_: Any) -> None:
        """A browser hangs up whenever it likes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode = self.server.mode if self.command == "POST" else "through"
        if mode == "away":
            self.close_connection = True
            return
        answer, headers, data = self._ask(body)
        if mode == "swallow":
            self.close_connection = True
            return
        self.send_response_only(answer)
        for name, value in headers:
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target = urlsplit(self.server.next())
        connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=120)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def proxied(*servers: str) -> Iterator[Proxy]:
    """A proxy before servers by turns, as long as the block runs."""
    proxy = Proxy(servers)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
