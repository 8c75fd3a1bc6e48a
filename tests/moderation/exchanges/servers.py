"""A local HTTP server, and what makes it one exchange or another: real sockets, the peers' own wire formats."""

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.sax.saxutils import escape

TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass
class Asked:
    """A request as it arrived. Header names are in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Answer:
    """What is sent back. dies: 'reset' before anything, 'cut' in the middle of the body, 'silence' for two seconds."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    dies: str = ""


class Server:
    """faults: answers to give instead, once each, by the number of the request (from 1)."""

    def __init__(self, play: Callable[[Asked], Answer]) -> None:
        self.play, self.asked = play, list[Asked]()
        self.faults: dict[int, Answer] = {}
        self.running = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (_Handler,), {"server_": self}))
        self.running.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.running.server_port}"

    def fail(self, number: int, answer: Answer) -> None:
        """Answer the `number`th request from now on with that."""
        self.faults[len(self.asked) + number] = answer

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.faults.pop(len(self.asked), None) or self.play(asked)


class _Handler(BaseHTTPRequestHandler):
    server_: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server_.answer(Asked(url.path, dict(parse_qsl(url.query)), headers))
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send(answer)

    def send(self, answer: Answer) -> None:
        if answer.dies == "silence":
            time.sleep(2)
        if answer.dies == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.send_response(answer.status)
        for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if answer.dies == "cut" else answer.body)


@contextmanager
def serving(play: Callable[[Asked], Answer]) -> Iterator[Server]:
    server = Server(play)
    threading.Thread(target=server.running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.running.shutdown()
        server.running.server_close()


def as_json(body: object) -> Answer:
    return Answer(body=json.dumps(body).encode(), headers={"content-type": "application/json; charset=utf-8"})


class StopNcii:
    """StopNCII.org's FetchHashes. tokens: whether page tokens are still known."""

    kind = "stopncii"
    path = "/v1"
    secrets = {"subscription_key": "sub-0123456789", "fetch_function_key": "func-9876543210"}  # noqa: RUF012

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.tokens, self.now = True, 1_700_000_000

    def config(self, base: str) -> dict[str, Any]:
        return {"url": base + self.path, "page_size": 2}

    def put(self, value: str, **fields: Any) -> None:
        """Adds a record, as changed last, or replaces the one of that value."""
        self.records = [one for one in self.records if one.get("hashValue") != value]
        self.now += 10
        told = {
            "signalType": "ImagePDQ",
            "hashStatus": "Active",
            "caseNumbers": {"case-1": "Active"},
            "CSPFeedbacks": [],
        }
        self.records.append({**told, "lastModtimestamp": self.now, "hashValue": value, **fields})

    def withdraw(self, value: str) -> None:
        self.put(value, hashStatus="Withdrawn", caseNumbers={"case-1": "Withdrawn"})

    def __call__(self, asked: Asked) -> Answer:
        keys = asked.headers.get("ocp-apim-subscription-key"), asked.headers.get("x-functions-key")
        if keys != (self.secrets["subscription_key"], self.secrets["fetch_function_key"]):
            return Answer(401, f"bad keys {keys}".encode())
        if asked.path != "/v1/FetchHashes":
            return Answer(404)
        since, size = int(asked.query["startTimestamp"]), int(asked.query["pageSize"])
        found = [one for one in self.records if one["lastModtimestamp"] >= since]
        token = asked.query.get("nextPageToken", "")
        if token and not self.tokens:
            return Answer(400, b"The continuation token has expired")
        start = int(token.removeprefix("page-") or 0)
        more, newest = start + size < len(found), max([since, *(one["lastModtimestamp"] + 1 for one in found)])
        return as_json({
            "count": len(found[start : start + size]),
            "nextPageToken": f"page-{start + size}" if more else None,
            "nextSetTimestamp": newest,
            "hasMoreRecords": more,
            "hashRecords": found[start : start + size],
        })  # fmt: skip


class Ncmec:
    """NCMEC's /v2/entries: records by time span, in pages that name the next one."""

    kind = "ncmec"
    path = "/hashsharing"
    secrets = {"user": "testington", "password": "pass:word-0123456789"}  # noqa: RUF012

    def __init__(self) -> None:
        self.records: dict[str, tuple[int, str]] = {}
        self.size = 2
        self.links = True

    def config(self, base: str) -> dict[str, Any]:
        return {"url": base + self.path, "environment": "test_Industry"}

    def put(self, value: str, *, at: int | None = None, id: str = "", xml: str = "", member: int = 42) -> None:
        """A record with that PDQ hash (or that xml in its stead), changed at that time (default: half a minute ago)."""
        prints = xml or f"<fingerprints><pdq>{value}</pdq></fingerprints>"
        self._keep(id or value[:8], "image", at, f"<classification>A1</classification>{prints}", member)

    def withdraw(self, value: str, *, at: int | None = None, member: int = 42) -> None:
        self._keep(value[:8], "deletedImage", at, "", member)

    def _keep(self, id: str, tag: str, at: int | None, inner: str, member: int) -> None:
        stamp = int(time.time()) - 30 if at is None else at
        member_xml = f'<member id="{member}">Example Member</member>'
        xml = f"<{tag}>{member_xml}<timestamp>{_date(stamp)}</timestamp><id>{id}</id>{inner}</{tag}>"
        self.records[id] = (stamp, xml)

    def __call__(self, asked: Asked) -> Answer:
        login = base64.b64encode(f"{self.secrets['user']}:{self.secrets['password']}".encode()).decode()
        if asked.headers.get("authorization") != f"Basic {login}":
            return Answer(401, asked.headers.get("authorization", "").encode())
        if asked.path != "/hashsharing/v2/entries":
            return Answer(404)
        if "start" in asked.query and not self.links:
            return Answer(410)
        span = [_stamp(asked.query[end]) for end in ("from", "to")]
        found = sorted(one for one in self.records.values() if span[0] <= one[0] < span[1])
        start = int(asked.query.get("start", 1)) - 1
        return Answer(body=self._xml(asked, found, start), headers={"content-type": "application/xml"})

    def _xml(self, asked: Asked, found: list[tuple[int, str]], start: int) -> bytes:
        page, link = found[start : start + self.size], ""
        if start + self.size < len(found):
            query = {name: asked.query[name] for name in ("from", "to")}
            query |= {"start": str(start + self.size + 1), "size": str(self.size), "max": str(len(found))}
            link = f"<paging><next>{escape('/v2/entries?' + urlencode(query))}</next></paging>"
        newest = _date(max((one[0] for one in page), default=0))
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
            f'<images count="{len(page)}" maxTimestamp="{newest}">{"".join(one[1] for one in page)}</images>'
            f"{link}</queryResult>"
        ).encode()


class ThreatExchange:
    """The threat_updates of one privacy group on Meta's Graph API."""

    kind = "threatexchange"
    path = "/v26.0"
    secrets = {"api_token": "1234567890|abcdefghijklmnopqrstuvwxyz"}  # noqa: RUF012

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.base, self.now = "", 1_700_000_000

    def config(self, base: str) -> dict[str, Any]:
        self.base = base
        return {"url": base + self.path, "privacy_group": 777, "page_size": 2}

    def put(self, value: str, **fields: Any) -> None:
        self.records = [one for one in self.records if one.get("indicator") != value]
        self.now += 10
        told = {
            "id": str(len(self.records) + 1),
            "type": "HASH_PDQ",
            "should_delete": False,
            "descriptors": described(),
        }
        self.records.append({**told, "indicator": value, "last_updated": self.now, **fields})

    def withdraw(self, value: str) -> None:
        self.put(value, should_delete=True)
        del self.records[-1]["descriptors"]

    def __call__(self, asked: Asked) -> Answer:
        if asked.query.get("access_token") != self.secrets["api_token"]:
            return Answer(401, json.dumps({"error": {"message": f"Bad token {asked.query}"}}).encode())
        if asked.path != "/v26.0/777/threat_updates/":
            return Answer(404)
        since, start = int(asked.query.get("start_time", 0)), int(asked.query.get("after", 0))
        size = int(asked.query["limit"])
        found = [one for one in self.records if one["last_updated"] > since]
        body: dict[str, Any] = {"data": found[start : start + size]}
        if start + size < len(found):
            query = urlencode({**asked.query, "after": str(start + size)})
            body["paging"] = {"cursors": {"after": str(start + size)}, "next": f"{self.base}{asked.path}?{query}"}
        return as_json(body)


def described(
    status: str = "MALICIOUS", tags: tuple[str, ...] = ("media_type_photo",), owner: str = "55"
) -> dict[str, Any]:
    """The descriptors of an indicator as the Graph API tells them, one in number."""
    labels = {"data": [{"id": str(number), "text": tag} for number, tag in enumerate(tags)]}
    return {"data": [{"id": "9", "owner": {"id": owner}, "status": status, "tags": labels}]}


def _date(stamp: int) -> str:
    return datetime.fromtimestamp(stamp, UTC).strftime(TIME)


def _stamp(date: str) -> int:
    return int(datetime.strptime(date, TIME).replace(tzinfo=UTC).timestamp())
