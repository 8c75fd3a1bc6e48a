"""Plays the host: serves images, and takes webhooks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass
class Host:
    """A running host. files: what it serves by path. received: webhooks whose signature held, ids: their
    `webhook-id`s. status: how it answers them."""

    secret: str
    files: dict[str, bytes] = field(default_factory=dict)
    received: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    status: int = 204
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What was said in events of a kind."""
        return [event["data"] for event in self.received if event["type"] == kind]


@contextmanager
def running_host(secret: str) -> Iterator[Host]:
    """A host on this machine that knows the secret of the webhooks."""
    host = Host(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = host.files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                event = Webhook(host.secret).verify(body, dict(self.headers))
            except (WebhookVerificationError, ValueError) as error:
                host.refused.append(str(error))
                self.send_response(401)
            else:
                host.received += [event] if host.status < 300 else []
                host.ids += [self.headers["webhook-id"]] if host.status < 300 else []
                self.send_response(host.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at what was received."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
