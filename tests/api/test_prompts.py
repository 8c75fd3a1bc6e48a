"""`POST /v1/prompts/check`. Terms come from the guard's own lists; no sentence is written."""

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from detectors.prompts import MINORS, MOST_CHARACTERS, PERSON
from detectors.prompts.terms import languages
from moderation.commands.keys import new_secret
from moderation.people.records import Applicant, Consent
from moderation.people.repository import PeopleRepository
from moderation.people.service import PeopleService
from moderation.tables import DEFAULT_TENANT, new_id
from tests.api.conftest import MakeApp

URL = "/v1/prompts/check"
EN = languages()["en"]
SEXUAL = EN["sexual"][0]


def test_an_everyday_prompt_is_allowed(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "a father bathing his newborn baby"})

    assert answer.status_code == 200
    assert answer.json() == {"allowed": True, "rule": None, "reason": ""}


@pytest.mark.parametrize(("kind", "rule"), [("minors", MINORS), ("roles", PERSON)])
def test_a_refusal_names_its_rule_and_never_the_text(
    client: TestClient, kind: str, rule: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    term = EN[kind][0]
    answer = client.post(URL, json={"prompt": f"{term}, zyqqua, {SEXUAL}"})

    assert answer.status_code == 200
    assert (answer.json()["allowed"], answer.json()["rule"]) == (False, rule)
    written = capsys.readouterr()
    assert "zyqqua" not in answer.text + caplog.text + written.out + written.err


def test_a_negative_prompt_is_not_held_against_it(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": EN["minors"][0], "negative_prompt": SEXUAL})

    assert answer.json()["allowed"]


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_the_limit_of_length_is_named(client: TestClient, field: str) -> None:
    fits = client.post(URL, json={"prompt": "", field: "x" * MOST_CHARACTERS})
    long = client.post(URL, json={"prompt": "", field: "x" * (MOST_CHARACTERS + 1)})

    assert fits.status_code == 200
    assert (long.status_code, long.json()["error"]["code"]) == (422, "prompt_too_long")
    assert str(MOST_CHARACTERS) in long.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"prompt": 7}', b"{}", b'{"prompt": "x", "more": 1}']
)
def test_bad_json_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(URL, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "request_invalid"


def test_half_a_surrogate_pair_is_refused(client: TestClient) -> None:
    answer = client.post(URL, content=b'{"prompt": "\\ud800"}', headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "prompt_invalid")


def test_a_key_needs_the_scope(make_application: MakeApp) -> None:
    application = make_application()
    client = TestClient(create_app(application))
    assert client.post(URL, json={"prompt": "x"}).status_code == 401
    for scopes, status in ((["scan", "read"], 403), (["prompts"], 200)):
        _, secret = application.keys.create("generator", scopes)
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.post(URL, json={"prompt": "x"}, headers=headers).status_code == status


def test_names_of_enrolled_people_are_protected_until_they_leave(make_application: MakeApp) -> None:
    application = make_application(require_key=False, people_keys=new_secret("k1"))
    client = TestClient(create_app(application))
    prompt = {"prompt": f"quorny velimsen, {SEXUAL}"}
    assert client.post(URL, json=prompt).json()["allowed"]

    person = new_id("person")
    cipher = application.person_keys.create(DEFAULT_TENANT, person)
    consent = Consent("consent", "file 17", "A. Clerk", datetime(2090, 1, 1, tzinfo=UTC), "")
    row = PeopleService._person(DEFAULT_TENANT, person, cipher, Applicant("Quorny Velimsen", "adult", consent))
    with application.database.write() as session:
        repository = PeopleRepository(session, DEFAULT_TENANT)
        repository.add(row)
        repository.advance()
    assert client.post(URL, json=prompt).json()["rule"] == PERSON
    assert client.post(URL, json={"prompt": "quorny velimsen on a bicycle"}).json()["allowed"]

    application.people.delete(DEFAULT_TENANT, person, actor="test")
    assert client.post(URL, json=prompt).json()["allowed"]
