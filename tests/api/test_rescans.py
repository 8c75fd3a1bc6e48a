"""`/v1/rescans`."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from moderation.application import Application
from tests.moderation.rescans.stored import findings, run, store


@pytest.fixture
def hosted(application: Application) -> Application:
    """Ten images, judged."""
    store(application.database, application.policies.get(""), [findings(i) for i in range(10)])
    return application


def plan(client: TestClient, **values: Any) -> dict[str, Any]:
    answer = client.post("/v1/rescans", json={"using": "policy", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_a_plan_is_made_followed_and_done(client: TestClient, hosted: Application) -> None:
    made = plan(client)
    assert (made["state"], made["path"], made["progress"]["left"]) == ("running", "policy", 10)

    run(hosted, made["id"])

    read = client.get(f"/v1/rescans/{made['id']}").json()
    assert (read["state"], read["progress"]["done"], read["progress"]["left"]) == ("done", 10, 0)
    assert [each["id"] for each in client.get("/v1/rescans").json()["rescans"]] == [made["id"]]
    assert client.get(f"/v1/rescans/{made['id']}/failures").json() == {"failures": []}


def test_a_plan_is_paused_resumed_and_cancelled(client: TestClient, hosted: Application) -> None:
    url = f"/v1/rescans/{plan(client)['id']}"

    states = [client.post(f"{url}/pause").json()["state"]]
    states.append(client.post(f"{url}/resume", json={"max_changed": 5}).json()["state"])
    states.append(client.post(f"{url}/cancel").json()["state"])

    assert states == ["paused", "running", "cancelled"]
    assert client.get(url).json()["spec"]["max_changed"] == 5
    assert client.post(f"{url}/pause").status_code == 409


def test_a_dry_run_makes_no_plan(client: TestClient, hosted: Application) -> None:
    answer = client.post("/v1/rescans/dry-run", json={"using": "policy"})

    assert answer.status_code == 200
    assert answer.json()["images"] == 10
    assert client.get("/v1/rescans").json() == {"rescans": []}


@pytest.mark.parametrize(
    "values",
    [
        {"using": "all"},
        {"using": "all", "source": "file:///etc/{external_id}"},
        {"using": "all", "source": "https://host/pictures"},
        {"using": "head", "detectors": ["nobody"]},
        {"using": "policy", "policy": "nobody"},
        {"using": "policy", "cron": "whenever"},
        {"using": "policy", "hours": "30-2"},
        {"using": "policy", "sample": 0},
        {"using": "policy", "unknown": 1},
    ],
)
def test_what_cannot_be_planned_is_refused(client: TestClient, values: dict[str, Any]) -> None:
    answer = client.post("/v1/rescans", json=values)

    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


def test_a_plan_that_is_not_there(client: TestClient) -> None:
    for call in (client.get("/v1/rescans/rescan_none"), client.post("/v1/rescans/rescan_none/cancel")):
        assert call.status_code == 404


def test_a_server_works_on_plans_beside_its_duties(client: TestClient, hosted: Application) -> None:
    made = plan(client)

    assert hosted.chores.run()["rescans"] == 1

    assert client.get(f"/v1/rescans/{made['id']}").json()["state"] == "done"
