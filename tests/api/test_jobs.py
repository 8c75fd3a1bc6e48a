"""Asynchronous scans and batches over HTTP; the server's own threads do the work."""

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.jobs.manifest import LONGEST_LINE
from moderation.jobs.records import Order
from moderation.tables import Batch, Event, Job
from tests.api.conftest import MakeApp
from tests.factories import encode, picture
from tests.hosts import Host, running_host

PHOTO = encode(picture(400, 300, seed=7), "JPEG")
JSONL = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host("whsec_" + "QUFB" * 8) as running:
        yield running


@pytest.fixture
def application(make_application: MakeApp, database_url: str) -> Application:
    return make_application(
        database_url=database_url,
        require_key=False,
        fetch_allowed_networks="127.0.0.0/8",
        job_attempts=2,
        job_retry_seconds=0.1,
        chores_seconds=0.2,
    )


@pytest.fixture
def client(application: Application) -> Iterator[TestClient]:
    with TestClient(create_app(application)) as client:
        yield client


def ended(
    client: TestClient, path: str, states: tuple[str, ...] = ("done", "failed", "quarantined", "finished")
) -> dict[str, Any]:
    """The job or batch at a path once it has ended."""
    ends = time.monotonic() + 60
    while True:
        found = client.get(path).json()
        if found["state"] in states:
            return dict(found)
        assert time.monotonic() < ends, found
        time.sleep(0.05)


def events(application: Application, kind: str) -> list[dict[str, Any]]:
    with application.database.read() as session:
        return [event.payload for event in session.scalars(sa.select(Event).where(Event.kind == kind))]


def jsonl(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_an_asynchronous_scan_is_answered_with_a_job(client: TestClient, application: Application) -> None:
    answer = client.post(
        "/v1/scans?async=true", files={"image": ("a.jpg", PHOTO, "image/jpeg")}, data={"external_id": "u1"}
    )

    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["external_id"], job["scan"]) == ("queued", "u1", None)
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    done = ended(client, answer.headers["Location"])
    assert done["scan"]["sha256"] == hashlib.sha256(PHOTO).hexdigest()
    assert done["scan"]["verdict"]["action"] == "allow"
    assert done["scan"]["context"]["external_id"] == "u1"
    (told,) = events(application, "scan.finished")
    assert (told["job"], told["scan"], told["action"]) == (job["id"], done["scan_id"], "allow")


def test_an_address_is_fetched_later(client: TestClient, host: Host) -> None:
    host.files["/a.jpg"] = PHOTO

    answer = client.post("/v1/scans?async=true", json={"url": f"{host.url}/a.jpg", "surface": "post"})

    assert answer.status_code == 202
    assert ended(client, answer.headers["Location"])["scan"]["context"]["surface"] == "post"


def test_what_cannot_be_scanned_is_told(client: TestClient) -> None:
    answer = client.post("/v1/scans?async=1", content=b"not an image")

    assert answer.status_code == 202
    assert ended(client, answer.headers["Location"])["error"]["code"] == "not_an_image"


def test_an_idempotency_key_gives_the_same_job(client: TestClient) -> None:
    first, second = (
        client.post("/v1/scans?async=true", content=PHOTO, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    other = client.post("/v1/scans", content=PHOTO, headers={"Idempotency-Key": "k"})

    assert first.json() == second.json()
    assert second.status_code == 202
    assert other.status_code == 422, "the same key for a scan that is done at once"


def test_too_much_is_refused_before_its_body_is_read(make_application: MakeApp) -> None:
    application = make_application(require_key=False, job_most_bytes=10_000)
    sent: list[bytes] = []

    def body() -> Iterator[bytes]:
        for _ in range(20):
            sent.append(b"x" * 1_000)
            yield sent[-1]

    app = create_app(application)
    with TestClient(app) as client:
        answer = client.post("/v1/scans?async=true", content=body(), headers={"Content-Length": "20000"})

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["error"]["code"] == "rate_limited"


def test_a_batch_is_counted_to_its_end(client: TestClient, application: Application, host: Host) -> None:
    host.files |= {f"/{n}.jpg": encode(picture(seed=n), "JPEG") for n in range(3)} | {"/x.jpg": b"not an image"}
    manifest = jsonl(
        *({"url": f"{host.url}/{n}.jpg", "external_id": f"e{n}"} for n in range(3)), {"url": f"{host.url}/x.jpg"}
    )

    answer = client.post("/v1/batches?name=first", content=manifest + "\n{broken\n" + "[]", headers=JSONL)

    assert answer.status_code == 202
    batch = answer.json()
    assert (batch["total"], batch["failed"], batch["left"]) == (6, 2, 4)
    finished = ended(client, f"/v1/batches/{batch['id']}")
    assert (finished["done"], finished["failed"], finished["left"]) == (3, 3, 0)
    failures = client.get(f"/v1/batches/{batch['id']}/failures").json()["failures"]
    assert [(failure["line"], failure["error"]["code"]) for failure in failures] == [
        (4, "not_an_image"),
        (6, "manifest_row_invalid"),
        (7, "manifest_row_invalid"),
    ]
    assert "Line 6" in failures[1]["error"]["message"]
    assert client.get(f"/v1/batches/{batch['id']}/failures?after=4&limit=1").json()["failures"] == failures[1:2]
    assert [told["done"] for told in events(application, "batch.finished")] == [3]
    assert len(events(application, "scan.finished")) == 4


def test_a_manifest_may_be_csv(client: TestClient, host: Host) -> None:
    host.files["/a.jpg"] = PHOTO
    manifest = f'\ufeffexternal_id,url\r\n"a,b",{host.url}/a.jpg\r\n\r\nonly one\r\nx,"unclosed\r\n'

    batch = client.post("/v1/batches", content=manifest.encode(), headers=CSV).json()

    assert ended(client, f"/v1/batches/{batch['id']}")["done"] == 1
    failures = client.get(f"/v1/batches/{batch['id']}/failures").json()["failures"]
    assert [failure["line"] for failure in failures] == [4, 5]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"url": 5}', "no text `url`"),
        ('{"url": "https://host/a", "colour": "red"}', "unknown fields: 'colour'"),
        ('{"url": "ftp://host/a"}', "only http and https"),
        ('{"url": "https://host/a", "policy": "nowhere"}', "nowhere"),
        ('{"url": "https://host/a", "surface": "' + "x" * 101 + '"}', "surface is not text of at most 100"),
        ('{"url": "' + "x" * LONGEST_LINE + '"}', "more than 16,384 bytes"),
        ("\udcff", "cannot be read"),
        ("[" * 5_000, "cannot be read"),
    ],
)
def test_bad_rows_are_told_by_line(client: TestClient, row: str, why: str) -> None:
    content = b"\n" + row.encode(errors="surrogateescape")

    batch = client.post("/v1/batches", content=content, headers=JSONL).json()

    assert (batch["state"], batch["total"], batch["failed"]) == ("finished", 1, 1)
    (failure,) = client.get(f"/v1/batches/{batch['id']}/failures").json()["failures"]
    assert failure["line"] == 2
    assert why in failure["error"]["message"]


@pytest.mark.parametrize(
    ("content", "headers", "refusal"),
    [
        (b"", JSONL, (422, "request_invalid")),
        (b"\n\n", JSONL, (422, "request_invalid")),
        (b"https://host/a.jpg\n", CSV, (422, "request_invalid")),
        (b"url,url\n", CSV, (422, "request_invalid")),
        (b"{}", {"Content-Type": "application/xml"}, (415, "unsupported_type")),
    ],
)
def test_what_is_no_manifest_is_refused_whole(
    client: TestClient, application: Application, content: bytes, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    answer = client.post("/v1/batches", content=content, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == refusal
    with application.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Batch)) == 0


def test_a_manifest_beyond_what_may_wait_leaves_nothing(make_application: MakeApp) -> None:
    application = make_application(require_key=False, job_most=700)
    manifest = jsonl(*({"url": f"https://host/{number}"} for number in range(1_000)))

    with TestClient(create_app(application)) as client:
        answer = client.post("/v1/batches", content=manifest, headers=JSONL)

    assert answer.status_code == 429
    assert "Retry-After" in answer.headers
    with application.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Batch)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_what_waited_when_a_server_ended_is_done_by_the_next_one(make_application: MakeApp) -> None:
    keys = new_secret("k1")
    first = make_application(require_key=False, image_keys=keys)
    job = first.jobs.submit("default", Order(PHOTO))
    second = make_application(require_key=False, image_keys=keys)

    with TestClient(create_app(second)) as client:
        assert ended(client, f"/v1/jobs/{job.id}")["state"] == "done"


def test_unknown_ids_and_scopes(client: TestClient, make_application: MakeApp) -> None:
    assert client.get("/v1/jobs/job_0").status_code == 404
    assert client.get("/v1/batches/batch_0").status_code == 404
    assert client.get("/v1/batches/batch_0/failures").status_code == 404
    application = make_application()
    _, secret = application.keys.create("k", ["read"])
    headers = {"Authorization": f"Bearer {secret}"}
    with TestClient(create_app(application)) as strict:
        answers: list[httpx.Response] = [
            strict.post("/v1/batches", content=b"{}", headers={**headers, **JSONL}),
            strict.post("/v1/scans?async=true", content=PHOTO, headers=headers),
        ]
    assert [answer.status_code for answer in answers] == [403, 403]
