"""Scanning over HTTP, end to end: real bytes, real models, real databases."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from api.app import create_app
from moderation.application import Application
from moderation.errors import ModelError
from moderation.tables import Measurement
from tests.api.conftest import MakeApp
from tests.factories import encode, picture

PHOTO = encode(picture(400, 300, seed=7), "JPEG")


def send(client: TestClient, data: bytes = PHOTO, name: str = "photo.jpg", **fields: str) -> Response:
    return client.post("/v1/scans", files={"image": (name, io.BytesIO(data))}, data=fields)


def labels(scan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["label"]: finding for finding in scan["findings"]}


def test_a_form_gets_a_verdict_with_its_evidence(client: TestClient) -> None:
    answer = send(client, external_id="upload-1", uploader="u1", surface="post", locale="de-DE")

    assert answer.status_code == 201
    scan = answer.json()
    assert scan["sha256"] == hashlib.sha256(PHOTO).hexdigest()
    assert scan["verdict"]["action"] == "allow"
    assert scan["verdict"]["policy"]["name"] == "mainstream"
    assert scan["context"] == {"external_id": "upload-1", "uploader": "u1", "surface": "post", "locale": "de-DE"}
    assert scan["image"]["format"] == "JPEG"
    assert (scan["image"]["width"], scan["image"]["height"]) == (400, 300)
    found = labels(scan)
    assert found["nsfw"]["model"] == "open_nsfw@864bb37bf886"
    assert 0 < found["nsfw"]["fpr"] <= 1
    assert found["synthetic"]["status"] == "ok"
    assert found["synthetic"]["model"].startswith("synthetic@")
    assert "swap" not in found, "there is no face that could have been swapped"
    assert set(scan["timings"]) >= {"open", "signals", "provenance", "nsfw", "faces", "embedding", "synthetic", "total"}


def test_bare_bytes_take_their_context_from_the_query(client: TestClient) -> None:
    answer = client.post("/v1/scans?external_id=a&policy=adult", content=PHOTO, headers={"Content-Type": "image/jpeg"})

    assert answer.status_code == 201
    assert answer.json()["context"]["external_id"] == "a"
    assert answer.json()["verdict"]["policy"]["name"] == "adult"


def test_a_scan_and_its_image_can_be_read_again(client: TestClient) -> None:
    scan = send(client).json()

    assert client.get(f"/v1/scans/{scan['id']}").json() == scan
    image = client.get(f"/v1/images/{scan['sha256']}").json()
    assert image["image"] == scan["image"]
    assert [summary["id"] for summary in image["scans"]] == [scan["id"]]


def test_the_same_bytes_are_measured_once_and_judged_each_time(client: TestClient, application: Application) -> None:
    first = send(client, surface="post").json()
    second = send(client, surface="avatar", policy="adult").json()

    assert (first["reused"], second["reused"]) == (False, True)
    assert second["findings"] == first["findings"]
    assert second["id"] != first["id"]
    assert second["verdict"]["policy"]["name"] == "adult"
    assert second["context"]["surface"] == "avatar"


def test_findings_that_failed_are_measured_again(client: TestClient, application: Application) -> None:
    first = send(client).json()
    with application.database.write() as session:
        stored = session.get(Measurement, session.query(Measurement.id).scalar())
        stored.findings = [{**f, "status": "failed", "reason": "test"} for f in stored.findings]

    again = send(client).json()

    assert again["reused"] is False
    assert again["findings"] == first["findings"]


def test_one_bad_image_of_a_batch_spoils_no_other(client: TestClient) -> None:
    files = [
        ("image", ("a.jpg", PHOTO)),
        ("image", ("b.png", b"not an image")),
        ("image", ("c.png", encode(picture()))),
    ]

    answer = client.post("/v1/scans/batch", files=files, data={"surface": "post"})

    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["name"] for item in items] == ["a.jpg", "b.png", "c.png"]
    assert items[0]["scan"]["verdict"]["action"] == "allow"
    assert items[1]["scan"] is None
    assert items[1]["error"]["code"] == "not_an_image"
    assert items[2]["scan"]["image"]["format"] == "PNG"


def test_more_images_than_a_batch_takes_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/scans/batch", files=[("image", (f"{i}.jpg", b"x")) for i in range(33)])

    assert answer.status_code == 422
    assert "32" in answer.json()["error"]["hint"]


def test_a_repeated_request_is_answered_again_and_done_once(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = client.post("/v1/scans", content=PHOTO, headers=headers)
    second = client.post("/v1/scans", content=PHOTO, headers=headers)

    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert len(client.get(f"/v1/images/{first.json()['sha256']}").json()["scans"]) == 1


def test_an_idempotency_key_of_another_request_is_refused(client: TestClient) -> None:
    client.post("/v1/scans", content=PHOTO, headers={"Idempotency-Key": "k-2"})
    answer = client.post("/v1/scans", content=encode(picture(seed=9)), headers={"Idempotency-Key": "k-2"})

    assert answer.status_code == 422
    assert "another request" in answer.json()["error"]["message"]


def test_a_refused_upload_may_be_sent_again_under_its_key(client: TestClient) -> None:
    for _ in range(2):
        answer = client.post("/v1/scans", content=b"not an image", headers={"Idempotency-Key": "k-3"})
        assert answer.json()["error"]["code"] == "not_an_image"


def test_concurrent_requests_under_one_key_make_one_scan(client: TestClient) -> None:
    data = encode(picture(seed=11), "JPEG")

    def post(_: int) -> int:
        return client.post("/v1/scans", content=data, headers={"Idempotency-Key": "k-4"}).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(post, range(4)))

    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert len(client.get(f"/v1/images/{hashlib.sha256(data).hexdigest()}").json()["scans"]) == 1


def test_concurrent_uploads_of_one_image_are_one_image(client: TestClient) -> None:
    data = encode(picture(seed=12), "JPEG")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/scans", content=data), range(4)))

    assert {answer.status_code for answer in answers} == {201}
    assert len(client.get(f"/v1/images/{hashlib.sha256(data).hexdigest()}").json()["scans"]) == 4


@pytest.mark.parametrize(
    ("content", "kind", "code", "status"),
    [
        (b"", "image/jpeg", "empty", 422),
        (b"hello", "image/jpeg", "not_an_image", 415),
        (b"{", "application/json", "request_invalid", 422),
        (b"[]", "application/json", "request_invalid", 422),
        (b'{"url": 3}', "application/json", "request_invalid", 422),
        (b'{"url": "https://a.example/", "colour": "red"}', "application/json", "request_invalid", 422),
        (b'{"url": "http://127.0.0.1/x.jpg"}', "application/json", "fetch_refused", 422),
        (b'{"url": "file:///etc/passwd"}', "application/json", "fetch_refused", 422),
        (PHOTO, "image/png", "wrong_type", 415),
        (b"--x", "multipart/form-data; boundary=x", "request_invalid", 422),
        (b"nothing", "multipart/form-data", "request_invalid", 422),
    ],
)
def test_what_is_not_an_upload_is_refused(
    client: TestClient, content: bytes, kind: str, code: str, status: int
) -> None:
    answer = client.post("/v1/scans", content=content, headers={"Content-Type": kind})

    assert (answer.json()["error"]["code"], answer.status_code) == (code, status)


@pytest.mark.parametrize("value", ["x" * 201, "a\nb", "a\0b"])
def test_unfit_context_is_refused_by_name(client: TestClient, value: str) -> None:
    answer = send(client, external_id=value)

    assert answer.status_code == 422
    assert "external_id" in answer.json()["error"]["message"]


def test_an_unknown_policy_is_refused_with_those_that_exist(client: TestClient) -> None:
    answer = send(client, policy="main-stream")

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "policy_not_found")
    assert "mainstream" in answer.json()["error"]["hint"]


def test_a_policy_is_never_a_path(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine")
    for name in (str(tmp_path / "mine.yaml"), "../policies/mainstream", "mainstream.yaml"):
        assert send(client, policy=name).json()["error"]["code"] == "policy_not_found"


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for path in ("/v1/scans/scan_x", "/v1/images/abc", "/v1/nothing"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


def test_without_a_model_that_the_policy_needs_nothing_is_scored(
    client: TestClient, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ModelError("The model 'open_nsfw' is missing.", hint="Run `palisade models pull open_nsfw`.")

    def refuse(_name: str) -> None:
        raise missing

    monkeypatch.setattr(application.scanner, "detector", refuse)

    assert send(client, encode(picture(seed=13), "JPEG")).status_code == 503
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["problems"][0]["hint"] == missing.hint


def test_health_and_metrics(client: TestClient) -> None:
    send(client)

    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready", "problems": []}
    metrics = client.get("/metrics").text
    assert 'palisade_scans_total{action="allow",policy="mainstream",reused="false"}' in metrics
    assert 'palisade_detector_seconds_count{detector="nsfw"}' in metrics


def test_no_temporary_file_is_left(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    send(client, encode(picture(1500, 1500), "BMP"), name="large.bmp")
    send(client, b"not an image")

    assert list(folder.iterdir()) == []


OWN = """
name: {name}
version: 1
description: for tests
keep: {keep}
on_error: hold
on_skipped: allow
rules:
  - {{name: large, when: image.width > 100 && pdq.hashable, action: hold, queue: q, reason: any}}
"""


@pytest.mark.parametrize(
    ("keep", "width", "kept"), [("none", 200, False), ("held", 200, True), ("held", 90, False), ("all", 90, True)]
)
def test_images_are_kept_as_the_policy_says_and_encrypted(
    make_application: MakeApp, tmp_path: Path, keep: str, width: int, kept: bool
) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(name="own", keep=keep))
    application = make_application(require_key=False, policies_dir=tmp_path)
    data = encode(picture(width, 80, seed=31))

    scan = send(TestClient(create_app(application)), data, "p.png", policy="own").json()

    stored = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert scan["image"]["kept"] is kept
    assert len(stored) == kept
    if kept:
        assert data not in stored[0].read_bytes()
        assert application.store.get("default", scan["sha256"]) == data


def test_a_kept_image_has_a_heat_map_and_another_has_none(make_application: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN.format(name="own", keep="held"))
    client = TestClient(create_app(make_application(require_key=False, policies_dir=tmp_path)))
    kept = send(client, encode(picture(220, 200, seed=32)), "p.png", policy="own").json()["sha256"]
    gone = send(client, encode(picture(90, 80, seed=33)), "p.png", policy="own").json()["sha256"]

    answer = client.get(f"/v1/images/{kept}/heatmap").json()
    assert (answer["width"], answer["height"], len(answer["cells"])) == (220, 200, 9)
    assert all(0 <= cell["score"] <= 1 and 0 < cell["fpr"] <= 1 for cell in answer["cells"])
    assert client.get(f"/v1/images/{gone}/heatmap").status_code == 404
    assert client.get(f"/v1/images/{'0' * 64}/heatmap").status_code == 404


def test_answers_of_long_ago_are_forgotten(application: Application) -> None:
    from datetime import timedelta

    from moderation.tables import IdempotencyKey, utc_now

    assert application.idempotency.begin("default", "old", "f") is None
    with application.database.write() as session:
        session.get(IdempotencyKey, ("default", "old")).created_at = utc_now() - timedelta(hours=25)

    assert application.idempotency.forget_old() == 1
    assert application.idempotency.begin("default", "old", "another") is None


def test_a_try_that_died_is_taken_over(application: Application) -> None:
    from datetime import timedelta

    from moderation.tables import IdempotencyKey, utc_now

    application.idempotency.begin("default", "dead", "f")
    with application.database.write() as session:
        session.get(IdempotencyKey, ("default", "dead")).created_at = utc_now() - timedelta(minutes=6)

    assert application.idempotency.begin("default", "dead", "f") is None
