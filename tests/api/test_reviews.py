"""From a held upload to the undone verdict, over HTTP; on both databases, with real models."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.keys.service import KeyService
from moderation.tables import utc_now
from tests.api.conftest import MakeApp
from tests.factories import encode, picture
from tests.moderation.reviews.conftest import listed, scan_maker

HOLD = """
name: hold-all
version: 1
description: Holds everything, for tests.
keep: none
on_error: allow
on_skipped: allow
rules:
  - name: everything
    when: image.width > 0
    action: hold
    queue: explicit
    reason: A person looks at it.
examples:
  - name: an image is held
    findings: {}
    action: hold
    rules: [everything]
"""

ANNA: dict[str, Any] = {"id": "anna"}
BEN: dict[str, Any] = {"id": "ben"}
SENIOR: dict[str, Any] = {"id": "sol", "roles": ["senior"]}
LEAD: dict[str, Any] = {"id": "lea", "roles": ["lead"]}


@pytest.fixture
def application(make_application: MakeApp, database_url: str, tmp_path: Path) -> Application:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "hold-all.yaml").write_text(HOLD)
    return make_application(
        database_url=database_url,
        require_key=False,
        policies_dir=folder,
        review_second_share=0,
        review_undo_seconds=0,
        takedown_keys=new_secret("t1"),
    )


@pytest.fixture
def client(application: Application) -> Any:
    with TestClient(create_app(application)) as client:
        yield client


def upload(client: TestClient, seed: int = 1, **about: str) -> dict[str, Any]:
    files = {"image": ("a.png", encode(picture(seed=seed)), "image/png")}
    answer = client.post("/v1/scans", files=files, data={"policy": "hold-all", **about})
    assert answer.status_code == 201, answer.text
    assert answer.json()["verdict"]["action"] == "hold"
    return dict(answer.json())


def act(client: TestClient, path: str, who: dict[str, Any] = ANNA, *, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json={"reviewer": who, **body})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_held_upload_is_claimed_decided_told_appealed_and_undone(
    client: TestClient, application: Application
) -> None:
    scan = upload(client, external_id="photo-9", reach="5000", consent="true")
    again = upload(client)  # the same case
    claim = act(client, "/v1/cases/claim")["claim"]
    case = claim["case"]
    assert scan["case"] == again["case"] == {"id": case["id"], "queue": "explicit", "state": "open"}
    assert (case["queue"], case["reach"], claim["images"][0]["times"]) == ("explicit", 5001, 2)
    assert act(client, "/v1/cases/claim", BEN)["claim"] is None
    path = f"/v1/cases/{case['id']}"
    whole = client.get(path, params={"reviewer": "anna"}).json()
    assert whole["display"]["blur"] > 0
    assert sum(factor["points"] for factor in case["priority"]) != 0
    act(client, f"{path}/reveal", sha256=scan["sha256"], how="part")
    act(client, f"{path}/decide", token=claim["token"], outcome="block", clause="4.2")
    application.chores.run()

    for one in (scan, again):
        assert client.get(f"/v1/scans/{one['id']}").json()["case"] == {**scan["case"], "state": "closed"}
    events = {event["type"]: event["data"] for event in client.get("/v1/events").json()["events"]}
    assert events["case.decided"]["images"][0]["external_ids"] == ["photo-9"]
    appeal = client.post("/v1/appeals", json={"statement": "It is a drawing.", "scan": scan["id"]})
    assert appeal.status_code == 201, appeal.text
    twice = client.post("/v1/appeals", json={"statement": "Please.", "scan": scan["id"]})
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "conflict")
    assert act(client, "/v1/cases/claim", queue="appeals")["claim"] is None  # Anna decided before
    taken = act(client, "/v1/cases/claim", BEN, queue="appeals")["claim"]
    act(
        client,
        f"/v1/cases/{taken['case']['id']}/decide",
        BEN,
        token=taken["token"],
        outcome="overturn",
        reason="It is.",
    )
    application.chores.run()
    events = {event["type"]: event["data"] for event in client.get("/v1/events").json()["events"]}
    assert (events["verdict.overturned"]["undone"], events["verdict.overturned"]["action"]) == ("block", "allow")
    decided = client.get(f"/v1/appeals/{appeal.json()['id']}").json()
    assert (decided["outcome"], decided["statement"]) == ("overturn", "It is a drawing.")
    assert len(client.get("/v1/appeals", params={"state": "decided"}).json()["appeals"]) == 1


def test_a_scan_that_nobody_has_to_look_at_names_no_case(client: TestClient) -> None:
    files = {"image": ("a.png", encode(picture(seed=3)), "image/png")}

    assert client.post("/v1/scans", files=files).json()["case"] is None


def test_no_answer_names_a_case_of_known_child_abuse(client: TestClient, application: Application) -> None:
    make = scan_maker(application.database, application.review_rules)
    scan, case = make("grave", listed("child_abuse"))
    assert case is not None
    assert scan.case_id == case.id

    assert client.get(f"/v1/scans/{scan.id}").json()["case"] is None
    period = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    assert client.get("/v1/cases/figures", params=period).json()["queues"] == []
    seen = client.get("/v1/cases/figures", params={**period, "role": "senior"}).json()["queues"]
    assert [queue["queue"] for queue in seen] == ["child-abuse"]


def test_two_holders_a_late_decision_and_taking_it_up(client: TestClient) -> None:
    upload(client)
    first = act(client, "/v1/cases/claim")["claim"]
    path = f"/v1/cases/{first['case']['id']}"
    conflict = act(client, f"{path}/claim", BEN, status=409)
    assert "Another person" in conflict["error"]["message"]
    act(client, f"{path}/reassign", LEAD, to=BEN, reason="Ben knows it.")

    late = act(client, f"{path}/decide", token=first["token"], outcome="block", clause="4.2", status=409)
    assert late["error"]["code"] == "decision_late"
    second = act(client, "/v1/cases/claim", BEN)["claim"]
    (offer,) = second["offers"]
    made = act(client, f"{path}/adopt", BEN, token=second["token"], decision=offer["id"])
    assert (made["reviewer"], made["outcome"]) == ("ben", "block")
    assert act(client, f"{path}/decide", BEN, token=second["token"], outcome="block", clause="4.2")["id"] == made["id"]


def test_the_other_acts_on_a_case(client: TestClient) -> None:
    upload(client)
    claim = act(client, "/v1/cases/claim")["claim"]
    path = f"/v1/cases/{claim['case']['id']}"
    assert act(client, f"{path}/renew", token=1)["holder"] == "anna"
    assert act(client, f"{path}/release", token=1)["holder"] is None
    act(client, f"{path}/claim")
    act(client, f"{path}/skip", token=2, reason="Too close.")
    act(client, f"{path}/claim", BEN)
    assert act(client, f"{path}/escalate", BEN, token=3, reason="Unsure.")["outcome"] == "escalate"
    assert act(client, f"{path}/claim", BEN, status=403)["error"]["code"] == "forbidden"
    act(client, f"{path}/claim", SENIOR)
    assert act(client, "/v1/cases/stop", SENIOR)["rest_why"] == "stop"
    refused = client.post(f"{path}/claim", json={"reviewer": SENIOR})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "resting")
    assert int(refused.headers["retry-after"]) > 0


def test_figures_golden_cases_and_back_tests(client: TestClient) -> None:
    scan = upload(client)
    golden = act(client, "/v1/cases/golden", LEAD, status=201, scan=scan["id"], answer="overturn", reason="Known.")
    assert golden["kind"] == "scan"
    assert "answer" not in golden
    assert act(client, "/v1/cases/golden", ANNA, status=403, scan=scan["id"], answer="overturn", reason="x")
    now = utc_now()
    period = {"since": (now - timedelta(days=1)).isoformat(), "until": (now + timedelta(days=1)).isoformat()}
    figures = client.get("/v1/cases/figures", params=period).json()
    assert [(queue["queue"], queue["open"]) for queue in figures["queues"]] == [("explicit", 1)]
    draft = HOLD.replace("action: hold", "action: block").replace("    queue: explicit\n", "")
    result = client.post("/v1/cases/backtest", json={"policy": draft, **period}).json()
    assert result["counts"] == [{"from": "hold", "to": "block", "scans": 1}]
    broken = client.post("/v1/cases/backtest", json={"policy": "name: [", **period})
    assert (broken.status_code, broken.json()["error"]["code"]) == (422, "policy_invalid")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/cases/claim", {"reviewer": ANNA, "queue": "nowhere"}, 422),
        ("/v1/cases/claim", {"reviewer": {"id": "a\u0000"}}, 422),
        ("/v1/cases/claim", {"reviewer": {"id": "<script>"}}, 422),
        ("/v1/cases/claim", {"reviewer": {"id": "anna", "roles": ["owner"]}}, 422),
        ("/v1/cases/claim", {"reviewer": {"id": "anna", "roles": ["auditor"]}}, 403),
        ("/v1/cases/claim", {"reviewer": {"id": "anna", "queues": ["likeness"]}, "queue": "explicit"}, 403),
        ("/v1/cases/case_none/claim", {"reviewer": ANNA}, 404),
        ("/v1/cases/case_none/decide", {"reviewer": ANNA, "token": 1, "outcome": "delete"}, 422),
        ("/v1/cases/case_none/decide", {"reviewer": ANNA, "token": 0, "outcome": "uphold", "clause": "1"}, 422),
        ("/v1/cases/case_none/decide", {"reviewer": ANNA, "token": 1, "outcome": "uphold", "clause": "1"}, 404),
        ("/v1/appeals", {"statement": "x"}, 422),
        ("/v1/appeals", {"statement": "x", "scan": "scan_none"}, 404),
    ],
)
def test_bad_input_is_refused_with_a_reason(client: TestClient, path: str, body: Any, status: int) -> None:
    answer = client.post(path, json=body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_the_scope_is_needed(make_application: MakeApp) -> None:
    application = make_application()
    _, secret = KeyService(application.database).create("no reviews", ["scan"])
    with TestClient(create_app(application)) as client:
        answer = client.get("/v1/cases", params={"reviewer": "anna"}, headers={"Authorization": f"Bearer {secret}"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("about", [{"reach": "-1"}, {"reach": "many"}, {"reach": "99999999999"}, {"consent": "maybe"}])
def test_unfit_facts_of_an_upload_are_refused(client: TestClient, about: dict[str, str]) -> None:
    files = {"image": ("a.png", encode(picture()), "image/png")}

    assert client.post("/v1/scans", files=files, data=about).status_code == 422
