"""From a filed notice to the confirmed removal, over HTTP; on both databases, with a host that serves and is told."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.errors import NotFoundError
from moderation.tables import Base, utc_now
from moderation.takedowns.records import STATES
from tests.api.conftest import MakeApp
from tests.factories import encode, picture
from tests.hosts import Host, running_host

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiB3ZWJob29rcw=="
PHOTO = picture(512, 384, seed=41)

FORM = {
    "name": "A. Person",
    "contact": "a.person@example.org",
    "statement": "This is a picture of me that I never agreed to.",
    "signature": "A. Person",
    "good_faith": "true",
}


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host(SECRET) as host:
        yield host


@pytest.fixture
def application(make_application: MakeApp, database_url: str, host: Host) -> Application:
    return make_application(
        database_url=database_url,
        require_key=False,
        takedown_keys=new_secret("t1"),
        webhook_url=f"{host.url}/hook",
        webhook_secrets=SECRET,
        fetch_allowed_networks="127.0.0.0/8",
    )


@pytest.fixture
def client(application: Application) -> Iterator[TestClient]:
    with TestClient(create_app(application)) as client:
        yield client


def file(client: TestClient, *images: bytes, **changed: Any) -> dict[str, Any]:
    files = [("image", (f"{n}.png", data, "image/png")) for n, data in enumerate(images)]
    answer = client.post("/v1/takedowns", data={**FORM, **changed}, files=files or None)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def upload(client: TestClient, data: bytes, external_id: str) -> str:
    answer = client.post(f"/v1/scans?external_id={external_id}", content=data, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["image"]["sha256"])


def decide(client: TestClient, notice: dict[str, Any], what: str, **body: Any) -> Any:
    return client.post(f"/v1/takedowns/{notice['id']}/{what}", json=body)


def test_from_notice_to_removal(client: TestClient, application: Application, host: Host) -> None:
    hosted = upload(client, encode(PHOTO, "JPEG", quality=85), "upload-1")
    turned = upload(client, encode(PHOTO.swapaxes(0, 1), "JPEG", quality=60), "upload-2")
    other = upload(client, encode(picture(512, 384, seed=42), "JPEG"), "upload-3")

    filed = file(client, encode(PHOTO))
    notice = filed["notice"]
    assert (notice["state"], notice["reasons"]) == ("valid", [])
    accepted = decide(client, notice, "accept", reason="The person is recognisable and did not agree.").json()

    assert accepted["notice"]["state"] == "accepted"
    assert {copy["sha256"]: copy["stage"] for copy in accepted["copies"]} == {hosted: "near", turned: "near"}
    assert other not in {copy["sha256"] for copy in accepted["copies"]}
    assert upload(client, encode(PHOTO, "JPEG", quality=50), "again")
    blocked = client.post("/v1/scans", content=encode(PHOTO), headers={"Content-Type": "image/png"}).json()
    assert blocked["verdict"]["action"] == "block"
    bank = client.get("/v1/banks/takedowns").json()
    assert (bank["category"], bank["entries"]) == ("intimate", {"md5": 1, "pdq": 1, "sha256": 1})

    assert application.outbox.deliver() == 3
    (told,) = host.of("takedown.copies")
    assert {tuple(copy["external_ids"]) for copy in told["remove"]} == {("upload-1",), ("upload-2",)}
    assert host.of("takedown.accepted")[0]["notice"] == notice["id"]
    assert host.refused == []

    part = decide(client, notice, "confirm", removed=[hosted]).json()
    assert part["state"] == "accepted"
    removed = decide(client, notice, "confirm", removed=[turned]).json()
    assert removed["state"] == "removed"
    report = client.get("/v1/takedowns/report").json()
    assert (report["removed"], report["removed_in_time_share"], report["overdue"]) == (1, 1.0, 0)
    whole = client.get(f"/v1/takedowns/{notice['id']}").json()
    assert [step["action"] for step in whole["steps"]] == [
        "takedown.filed",
        "takedown.valid",
        "takedown.accepted",
        "takedown.swept",
        "takedown.confirmed",
        "takedown.confirmed",
        "takedown.removed",
    ]
    assert whole["filing"]["contact"] == FORM["contact"]


def test_addresses_are_found_by_the_hosts_id_or_fetched(client: TestClient, host: Host) -> None:
    known = upload(client, encode(PHOTO, "JPEG"), "photo-17.jpg")
    host.files["/elsewhere.png"] = encode(picture(400, 300, seed=43))
    urls = ["https://host.example/i/photo-17.jpg", f"{host.url}/elsewhere.png", f"{host.url}/gone.png"]

    notice = file(client, url=urls)["notice"]
    accepted = decide(client, notice, "accept", reason="It holds.")

    assert accepted.status_code == 200, accepted.text
    whole = client.get(f"/v1/takedowns/{notice['id']}").json()
    assert [image["source"] for image in whole["images"]] == ["hash", "url"]
    assert whole["images"][0]["sha256"] == known
    steps = {step["action"]: step["note"] for step in whole["steps"]}
    assert steps["takedown.address_failed"] == {"number": 2, "code": "fetch_failed"}


def test_private_addresses_are_not_fetched_for_strangers(
    client: TestClient, make_application: MakeApp, host: Host
) -> None:
    strict = make_application(require_key=False, takedown_keys=new_secret("t1"))
    host.files["/secret.png"] = encode(PHOTO)
    client = TestClient(create_app(strict))

    notice = file(client, url=[f"{host.url}/secret.png"])["notice"]
    answer = decide(client, notice, "accept", reason="It holds.")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    (step,) = [s for s in client.get(f"/v1/takedowns/{notice['id']}").json()["steps"] if "failed" in s["action"]]
    assert step["note"]["code"] == "fetch_refused"


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({"signature": ""}, ["signature_missing"]),
        ({"good_faith": "false"}, ["good_faith_missing"]),
        ({"contact": "", "name": " "}, ["name_missing", "contact_missing"]),
        ({"statement": "no"}, ["statement_missing"]),
        ({"relation": "parent"}, ["represented_missing"]),
        ({"url": []}, ["images_missing"]),
    ],
)
def test_what_is_missing_is_said_and_no_clock_runs(
    client: TestClient, changed: dict[str, Any], reasons: list[str]
) -> None:
    notice = file(client, **{"url": ["https://host.example/i/1"], **changed})["notice"]

    assert (notice["state"], notice["reasons"], notice["due_at"]) == ("incomplete", reasons, None)
    assert decide(client, notice, "accept", reason="It holds.").status_code == 409


def test_an_incomplete_notice_is_completed_by_its_link(client: TestClient, application: Application) -> None:
    filed = file(client, signature="", url=["https://host.example/i/1"])

    notice = application.takedowns.complete("default", filed["token"], {"signature": "A. Person"})

    assert (notice.state, notice.reasons) == ("valid", [])
    assert notice.due_at is not None
    assert notice.valid_at is not None
    assert notice.due_at - notice.valid_at == timedelta(hours=48)


def test_the_same_notice_again_is_a_duplicate_and_another_persons_is_not(client: TestClient) -> None:
    first = file(client, encode(PHOTO))["notice"]
    again = file(client, encode(PHOTO))["notice"]
    another = file(client, encode(PHOTO), contact="b@example.org")["notice"]

    assert (again["state"], again["duplicate_of"]) == ("duplicate", first["id"])
    assert another["state"] == "valid"


def test_misuse_is_flagged_and_decided_by_a_person(client: TestClient) -> None:
    notices = [file(client, url=[f"https://host.example/i/{n}"])["notice"] for n in range(11)]
    assert notices[9]["flags"] == []
    assert (notices[10]["state"], notices[10]["flags"]) == ("valid", ["many_notices"])

    abusive = decide(client, notices[10], "reject", reason="Pictures of a competitor's products.", abusive=True).json()
    assert abusive["state"] == "abusive"
    assert file(client, url=["https://host.example/i/x"])["notice"]["flags"] == ["many_notices", "rejected_before"]


def test_the_clock_warns_once_at_each_mark_and_says_when_time_is_over(
    client: TestClient, application: Application, host: Host
) -> None:
    file(client, encode(PHOTO))
    started = utc_now()
    desk = application.takedown_desk

    made = [desk.watch(started + timedelta(hours=h)) for h in (0, 23, 24.1, 25, 36.1, 44.1, 47.9, 48.1, 60)]

    assert made == [0, 0, 1, 0, 1, 1, 0, 1, 0]
    application.outbox.deliver(now=started + timedelta(hours=61))
    assert [round(told["hours_left"]) for told in host.of("takedown.due")] == [24, 12, 4]
    assert len(host.of("takedown.overdue")) == 1


def test_a_clock_that_slept_says_the_latest_mark_only(client: TestClient, application: Application) -> None:
    file(client, encode(PHOTO))

    assert application.takedown_desk.watch(utc_now() + timedelta(hours=50)) == 1
    kinds = [event.kind for event in application.outbox.events("default")]
    assert kinds == ["takedown.filed", "takedown.overdue"]


def test_a_counter_notice_that_holds_takes_the_takedown_back(client: TestClient, application: Application) -> None:
    upload(client, encode(PHOTO, "JPEG"), "upload-1")
    notice = file(client, encode(PHOTO))["notice"]
    (copy,) = decide(client, notice, "accept", reason="It holds.").json()["copies"]
    decide(client, notice, "confirm", removed=[copy["sha256"]])
    statement = {
        "name": "B",
        "contact": "b@example.org",
        "statement": "It is my own photo of a statue.",
        "signature": "B",
    }

    refused = decide(client, notice, "counter-notices", **statement, good_faith=False)
    assert refused.status_code == 422
    counter = decide(client, notice, "counter-notices", **statement, good_faith=True).json()
    assert client.get(f"/v1/takedowns/{notice['id']}").json()["notice"]["flags"] == ["countered"]
    ended = decide(
        client, notice, f"counter-notices/{counter['id']}/decide", upheld=True, reason="It is a statue."
    ).json()

    assert ended["state"] == "reversed"
    assert client.get("/v1/banks/takedowns").json()["entries"] == {}
    assert upload(client, encode(PHOTO, "JPEG"), "upload-1")
    scan = client.post("/v1/scans", content=encode(PHOTO), headers={"Content-Type": "image/png"}).json()
    assert scan["verdict"]["action"] == "allow"
    assert application.outbox.events("default")[-1].kind == "takedown.reversed"
    again = decide(client, notice, f"counter-notices/{counter['id']}/decide", upheld=False, reason="No.")
    assert again.status_code == 409


def test_only_similar_copies_can_be_kept(client: TestClient) -> None:
    hosted = upload(client, encode(PHOTO, "JPEG"), "upload-1")
    notice = file(client, encode(PHOTO))["notice"]
    decide(client, notice, "accept", reason="It holds.")

    for body in ({"kept": {hosted: "we like it"}}, {"removed": ["0" * 64]}):
        answer = decide(client, notice, "confirm", **body)
        assert answer.status_code == 422
    assert client.get(f"/v1/takedowns/{notice['id']}").json()["notice"]["state"] == "accepted"


def test_a_sweep_that_broke_off_is_taken_up_again(
    client: TestClient, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = upload(client, encode(PHOTO, "JPEG"), "upload-1")
    notice = file(client, encode(PHOTO))["notice"]
    desk = application.takedown_desk
    monkeypatch.setattr(desk, "_page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        desk.accept("default", notice["id"], "It holds.", actor="test")
    monkeypatch.undo()

    assert application.chores.run()["takedown sweeps"] == 1
    assert [c["sha256"] for c in client.get(f"/v1/takedowns/{notice['id']}").json()["copies"]] == [hosted]
    assert application.chores.run()["takedown sweeps"] == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"contact": "nobody"}, "not an e-mail address"),
        ({"url": ["javascript:alert(1)"]}, "not an address of an image"),
        ({"url": ["https://user:pw@host.example/"]}, "not an address of an image"),
        ({"statement": "x" * 5_001}, "5000"),
        ({"url": [f"https://h.example/{n}" for n in range(21)]}, "20"),
        ({"relation": "enemy"}, "relation"),
    ],
)
def test_what_is_unfit_is_refused_and_nothing_is_kept(client: TestClient, changed: dict[str, Any], said: str) -> None:
    answer = client.post("/v1/takedowns", data={**FORM, **changed})

    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]
    assert client.get("/v1/takedowns").json() == {"notices": []}


def test_a_file_that_is_no_image_is_refused_and_nothing_is_kept(client: TestClient) -> None:
    answer = client.post("/v1/takedowns", data=FORM, files=[("image", ("x.png", b"<svg/>", "image/png"))])

    assert answer.status_code in (415, 422)
    assert client.get("/v1/takedowns").json() == {"notices": []}


def test_nothing_personal_is_readable_in_the_database(application: Application, client: TestClient) -> None:
    filed = file(client, url=["https://host.example/i/secret-address"])
    with application.database.engine.connect() as connection:
        tables = [Base.metadata.tables[name] for name in ("notices", "notice_images", "audit_records", "events")]
        dump = " ".join(str(row) for table in tables for row in connection.execute(sa.select(table)))

    for secret in (FORM["contact"], FORM["name"], "secret-address", filed["token"]):
        assert secret not in dump


def test_a_wrong_link_leads_nowhere(application: Application) -> None:
    with pytest.raises(NotFoundError):
        application.takedowns.by_token("default", "x" * 32)


def test_without_a_key_notices_are_refused(make_application: MakeApp) -> None:
    client = TestClient(create_app(make_application(require_key=False)))

    answer = client.post("/v1/takedowns", data=FORM)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_failed")


def test_a_key_needs_the_scope(make_application: MakeApp) -> None:
    application = make_application(takedown_keys=new_secret("t1"))
    _, secret = application.keys.create("scanner", ["scan", "read"])
    client = TestClient(create_app(application), headers={"Authorization": f"Bearer {secret}"})

    for answer in (client.get("/v1/takedowns"), client.post("/v1/takedowns", data=FORM)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_every_state_is_explained() -> None:
    assert all(len(text) > 10 for text in STATES.values())
