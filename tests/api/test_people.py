"""`/v1/people` over HTTP, on both databases."""

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from api.app import create_app
from moderation.commands.keys import new_secret
from tests.api.conftest import MakeApp
from tests.factories import encode, picture
from tests.moderation.people.conftest import photo

FORM = {
    "name": "C. Person",
    "document": "file 17",
    "vouched_by": "A. Clerk",
    "expires_at": "2090-01-01T00:00:00Z",
}
NO_FACE = encode(picture())


@pytest.fixture
def people(make_application: MakeApp, database_url: str) -> TestClient:
    application = make_application(database_url=database_url, require_key=False, people_keys=new_secret("k1"))
    return TestClient(create_app(application))


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[bytes]:
    """Four photos of one person."""
    paths = [shared_data / "faces" / "person_02" / f"{number:02}.png" for number in (2, 3, 4, 7)]
    return [photo(np.asarray(Pillow.open(path).convert("RGB"))).data for path in paths]


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("photo", (f"{number}.png", data, "image/png")) for number, data in enumerate(contents)]


def test_from_enrolling_to_forgetting(people: TestClient, photos: list[bytes]) -> None:
    answer = people.post("/v1/people", data={**FORM, "keep_reference": "true"}, files=files(*photos[:2], NO_FACE))
    assert answer.status_code == 201
    person = answer.json()["person"]
    assert [report["code"] for report in answer.json()["photos"]] == ["", "", "no_face"]
    assert "template" not in answer.text
    assert person["consent"]["reference"] is True
    assert len(answer.text) < 2_000, "no picture is given out"

    url = f"/v1/people/{person['id']}"
    assert people.get(url).json() == person
    assert people.get(f"{url}/reference").status_code == 405, "it is deleted, and never read"
    assert people.get("/v1/people").json() == {"people": [person]}
    assert people.post(f"{url}/photos", files=files(photos[2])).json()["person"]["photos"] == 3
    (finding,) = people.post("/v1/people/check", files=files(photos[3])).json()["findings"]
    assert finding["evidence"]["person"] == person["id"]
    again = people.post("/v1/people", data=FORM, files=files(photos[3]))
    assert (again.status_code, again.json()["error"]["code"]) == (409, "duplicate_person")
    scan = people.post("/v1/scans", content=photos[3], headers={"Content-Type": "image/png"}).json()
    assert [f["evidence"]["person"] for f in scan["findings"] if f["label"] == "likeness"] == [person["id"]]

    assert people.delete(f"{url}/reference").status_code == 204
    assert people.get(url).json()["consent"]["reference"] is False
    assert people.delete(f"{url}/reference").status_code == 404

    assert people.delete(url).status_code == 204
    assert people.get(url).status_code == 404
    kinds = [event["kind"] for event in people.get(f"{url}/events").json()["events"]]
    assert kinds == ["enrolled", "reference_kept", "photos_added", "checked", "reference_dropped", "deleted"]


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"kind": "minor", "ground": "guardian"}, 422, "guardian_missing"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "consent_expired"),
        ({"expires_at": "2090-01-01T00:00:00"}, 422, "request_invalid"),
        ({"expires_at": "soon"}, 422, "request_invalid"),
        ({}, 422, "photos_refused"),
    ],
)
def test_what_is_refused(people: TestClient, changed: dict[str, str], status: int, code: str) -> None:
    answer = people.post("/v1/people", data={**FORM, **changed}, files=files(NO_FACE))

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_twenty_one_photos_are_refused(people: TestClient) -> None:
    answer = people.post("/v1/people", data=FORM, files=files(*[NO_FACE] * 21))

    assert answer.json()["error"]["code"] == "photo_count"


def test_a_key_needs_the_scope(make_application: MakeApp) -> None:
    application = make_application(people_keys=new_secret("k1"))
    _, secret = application.keys.create("scanner", ["scan", "read"])
    client = TestClient(create_app(application), headers={"Authorization": f"Bearer {secret}"})

    for answer in (
        client.get("/v1/people"),
        client.delete("/v1/people/person_1"),
        client.delete("/v1/people/person_1/reference"),
        client.post("/v1/people", data=FORM, files=files(NO_FACE)),
        client.post("/v1/people/check", files=files(NO_FACE)),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
