"""`/v1/banks` over HTTP, and what banks do to scans; on both databases."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.application import Application
from tests.api.conftest import MakeApp
from tests.factories import encode, picture

PHOTO = picture(480, 360, seed=31)
BANK = {"name": "ncii", "category": "intimate", "action_hint": "block"}


@pytest.fixture
def bank(client: TestClient) -> str:
    assert client.post("/v1/banks", json=BANK).status_code == 201
    return "/v1/banks/ncii"


def add(client: TestClient, bank: str, data: bytes) -> dict[str, Any]:
    answer = client.post(f"{bank}/images", files={"image": ("photo.png", data, "image/png")}, data={"note": "case 7"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def scan(client: TestClient, data: bytes, kind: str = "image/png") -> dict[str, Any]:
    answer = client.post("/v1/scans", content=data, headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def labels(answer: dict[str, Any], label: str = "known") -> list[dict[str, Any]]:
    return [f["evidence"] for f in answer["findings"] if f["label"] == label and f["status"] == "ok"]


def test_a_listed_image_is_blocked_and_its_removal_counts_at_once(client: TestClient, bank: str) -> None:
    added = add(client, bank, encode(PHOTO))
    assert (added["added"], added["unhashable"]) == (3, [])
    again = encode(PHOTO, "JPEG", quality=50)

    blocked = scan(client, again, "image/jpeg")
    assert blocked["verdict"]["action"] == "block"
    assert labels(blocked)[0]["kind"] == "pdq"
    assert [reason["rule"] for reason in blocked["verdict"]["reasons"]] == ["known-blocked"]
    (match,) = client.get(f"{bank}/matches").json()["matches"]
    assert (match["scan_id"], match["times"], match["unapplied"]) == (blocked["id"], 1, "")
    assert scan(client, again, "image/jpeg")["verdict"]["action"] == "block"
    assert client.get(f"{bank}/matches").json()["matches"][0]["times"] == 2

    assert client.delete(f"/v1/banks/entries/{match['entry_id']}").status_code == 204
    allowed = scan(client, again, "image/jpeg")
    assert allowed["verdict"]["action"] == "allow"
    assert {f["reason"] for f in allowed["findings"]} & {"the verdict cannot change any more"} == set(), (
        "measured whole"
    )


def test_an_addition_counts_for_an_image_that_was_scanned_before(client: TestClient, bank: str) -> None:
    data = encode(PHOTO)
    assert scan(client, data)["verdict"]["action"] == "allow"

    before = scan(client, data)
    add(client, bank, data)

    after = scan(client, data)
    assert (after["verdict"]["action"], after["reused"]) == ("block", True)
    assert labels(after)[0]["bank"] == "ncii"
    assert labels(client.get(f"/v1/scans/{before['id']}").json()) == [], "what the lists said then"
    assert labels(client.get(f"/v1/scans/{after['id']}").json()) == labels(after)


def test_an_entry_that_floods_is_quarantined_told_and_released(
    client: TestClient, bank: str, application: Application
) -> None:
    client.patch(bank, json={"flood_limit": 2})
    add(client, bank, encode(PHOTO))
    actions = [
        scan(client, encode(PHOTO, "JPEG", quality=q), "image/jpeg")["verdict"]["action"] for q in (90, 80, 70, 60)
    ]
    assert actions == ["block", "block", "block", "hold"], "the list is a grave one: a person looks meanwhile"

    (entry,) = client.get(f"{bank}/entries?state=quarantined").json()["entries"]
    assert client.get(bank).json()["quarantined"] == 1
    (event,) = application.outbox.events("default")
    assert (event.kind, event.payload["entry"], event.payload["images_today"]) == (
        "bank.entry_quarantined",
        entry["id"],
        3,
    )
    held_back = scan(client, encode(PHOTO, "JPEG", quality=60), "image/jpeg")
    assert labels(held_back, "known_unapplied")[0]["why"] == "quarantine"

    released = client.patch(f"/v1/banks/entries/{entry['id']}", json={"release": True, "note": "real copies"})
    assert (released.json()["state"], released.json()["note"]) == ("active", "real copies")
    assert scan(client, encode(PHOTO, "JPEG", quality=60), "image/jpeg")["verdict"]["action"] == "block"


def test_searching_finds_by_hash_and_by_image(client: TestClient, bank: str) -> None:
    added = add(client, bank, encode(PHOTO))
    pdq = next(s for s in added["signals"] if s["kind"] == "pdq")

    by_hash = client.post("/v1/banks/search", json={**pdq, "value": pdq["value"].upper()}).json()["matches"]
    mirrored = encode(PHOTO[:, ::-1])
    by_image = client.post("/v1/banks/search/image", files={"image": ("x.png", mirrored)}).json()["matches"]

    assert [(m["bank"], m["distance"], m["entry"]["note"]) for m in by_hash] == [("ncii", 0, "case 7")]
    assert [m["entry"]["id"] for m in by_image] == [by_hash[0]["entry"]["id"]]
    assert by_image[0]["orientation"] > 0


def test_lists_go_in_and_out(client: TestClient, bank: str) -> None:
    text = b"kind,value\nmd5,%s\nmd5,1\n" % (b"0" * 32)
    refused = client.post(f"{bank}/list", files={"file": text}, data={"all_or_nothing": "true"})
    assert refused.status_code == 422
    assert "Line 3" in refused.json()["error"]["message"]
    assert client.get(bank).json()["entries"] == {}

    loaded = client.post(f"{bank}/list", files={"file": text})
    assert loaded.json()["added"] == 1
    assert loaded.json()["problems"][0]["line"] == 3
    out = client.get(f"{bank}/list?format=csv")
    assert out.text == f"kind,value,external_id,note\nmd5,{'0' * 32},,\n"
    assert out.headers["content-type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("post", "", {"name": "ncii"}, 409, "conflict"),
        ("post", "", {"name": "Capital"}, 422, "request_invalid"),
        ("post", "", {"name": "x", "unknown": 1}, 422, "request_invalid"),
        ("post", "/none/signals", {"signals": [{"kind": "md5", "value": "0" * 32}]}, 404, "not_found"),
        ("post", "/ncii/signals", {"signals": [{"kind": "md5", "value": "0" * 31}]}, 422, "request_invalid"),
        ("post", "/ncii/signals", {"signals": []}, 422, "request_invalid"),
        ("patch", "/entries/99", {"disabled_until": "2090-01-01T00:00:00"}, 422, "request_invalid"),
        ("patch", "/entries/99", {"disabled_until": "2090-01-01T00:00:00Z"}, 404, "not_found"),
        ("delete", "/entries/99", None, 404, "not_found"),
        ("post", "/search", {"kind": "pdq", "value": "zz"}, 422, "request_invalid"),
    ],
)
def test_what_is_refused(
    client: TestClient, bank: str, *, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = client.request(method, f"/v1/banks{path}", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_key_needs_the_scope(make_application: MakeApp) -> None:
    application = make_application()
    _, secret = application.keys.create("scanner", ["scan", "read"])
    client = TestClient(create_app(application), headers={"Authorization": f"Bearer {secret}"})

    for answer in (client.get("/v1/banks"), client.post("/v1/banks", json=BANK), client.delete("/v1/banks/ncii")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
