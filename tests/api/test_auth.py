"""Who may call, and how often."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.errors import AuthenticationError, InvalidRequestError, NotFoundError, SettingsError
from moderation.tables import utc_now
from tests.api.conftest import MakeApp
from tests.factories import encode, picture

PHOTO = encode(picture(seed=3), "JPEG")


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_without_a_key_nothing_is_answered(make_application: MakeApp) -> None:
    client = TestClient(create_app(make_application()))

    for answer in (client.post("/v1/scans", content=PHOTO), client.get("/v1/scans/x"), client.get("/v1/images/x")):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic abc", "Bearer pls_unknown", "nonsense"])
def test_an_unfit_header_is_refused(make_application: MakeApp, header: str) -> None:
    client = TestClient(create_app(make_application()))

    assert client.get("/v1/scans/x", headers={"Authorization": header}).status_code == 401


def test_a_key_scans_and_reads_what_its_tenant_sent_and_no_other(make_application: MakeApp) -> None:
    application = make_application()
    _, ours = application.keys.create("ours", ["scan", "read"], tenant="one")
    _, theirs = application.keys.create("theirs", ["scan", "read"], tenant="two")
    client = TestClient(create_app(application))

    scan = client.post("/v1/scans", content=PHOTO, headers=bearer(ours)).json()

    assert client.get(f"/v1/scans/{scan['id']}", headers={"X-API-Key": ours}).status_code == 200
    assert client.get(f"/v1/scans/{scan['id']}", headers=bearer(theirs)).status_code == 404
    assert client.get(f"/v1/images/{scan['sha256']}", headers=bearer(theirs)).status_code == 404
    assert client.post("/v1/scans", content=PHOTO, headers=bearer(theirs)).json()["reused"] is False


def test_a_key_does_only_what_its_scopes_say(make_application: MakeApp) -> None:
    application = make_application()
    _, reader = application.keys.create("reader", ["read"])
    client = TestClient(create_app(application))

    answer = client.post("/v1/scans", content=PHOTO, headers=bearer(reader))

    assert answer.status_code == 403
    assert "'scan'" in answer.json()["error"]["message"]


def test_revoked_and_expired_keys_are_unknown(make_application: MakeApp) -> None:
    keys = make_application().keys
    key, secret = keys.create("a", ["scan"])
    _, short = keys.create("b", ["scan"], days=1)
    keys.revoke(key.id)

    with pytest.raises(AuthenticationError):
        keys.authenticate(secret)
    assert keys.authenticate(short).scopes == {"scan"}
    with pytest.raises(AuthenticationError):
        keys.authenticate(short, now=utc_now() + timedelta(days=1, seconds=1))


def test_secrets_are_not_stored(make_application: MakeApp) -> None:
    application = make_application()
    _, secret = application.keys.create("a", ["scan"])

    stored = application.keys.of_tenant()[0]

    assert secret not in str(stored.__dict__)
    assert secret.startswith("pls_")


def test_unfit_keys_are_not_made(make_application: MakeApp) -> None:
    keys = make_application().keys
    for scopes, tenant in ((["everything"], "t"), ([], "t"), (["scan"], "Tenant!"), (["scan"], "")):
        with pytest.raises(InvalidRequestError):
            keys.create("a", scopes, tenant=tenant)
    with pytest.raises(NotFoundError):
        keys.revoke("key_x")


def test_too_many_requests_are_told_when_to_come_again(make_application: MakeApp) -> None:
    application = make_application(rate_limit="3/minute")
    _, secret = application.keys.create("a", ["read"])
    client = TestClient(create_app(application))

    statuses = [client.get("/v1/scans/x", headers=bearer(secret)) for _ in range(4)]

    assert [answer.status_code for answer in statuses] == [404, 404, 404, 429]
    assert 1 <= int(statuses[-1].headers["retry-after"]) <= 60


def test_an_unfit_rate_is_a_settings_error(make_application: MakeApp) -> None:
    with pytest.raises(SettingsError, match="RATE_LIMIT"):
        create_app(make_application(rate_limit="often"))


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "1.2.3.4"},
        {"Forwarded": "for=1.2.3.4"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
    ],
)
def test_keyless_answers_are_for_this_machine_only(make_application: MakeApp, headers: dict[str, str]) -> None:
    client = TestClient(create_app(make_application(require_key=False)))

    assert client.get("/v1/scans/x").status_code == 404
    assert client.get("/v1/scans/x", headers={"Origin": "http://testserver"}).status_code == 404
    assert client.get("/v1/scans/x", headers=headers).status_code == 403


def test_large_bodies_are_refused_before_they_are_read(make_application: MakeApp) -> None:
    client = TestClient(create_app(make_application(require_key=False, max_bytes=1000)))

    declared = client.post("/v1/scans", content=b"x" * 100_000)
    streamed = client.post("/v1/scans", content=(b"x" * 10_000 for _ in range(10)))

    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_many_bytes"


def test_processes_that_share_a_redis_share_the_count(make_application: MakeApp, redis_url: str) -> None:
    application = make_application(rate_limit="3/minute", rate_limit_storage=redis_url)
    _, secret = application.keys.create("a", ["read"])
    clients = [TestClient(create_app(application)) for _ in range(2)]

    statuses = [clients[i % 2].get("/v1/scans/x", headers=bearer(secret)).status_code for i in range(4)]

    assert statuses == [404, 404, 404, 429]


def test_when_the_counter_is_down_each_process_counts_for_itself(make_application: MakeApp) -> None:
    application = make_application(rate_limit="3/minute", rate_limit_storage="redis://127.0.0.1:1")
    _, secret = application.keys.create("a", ["read"])
    client = TestClient(create_app(application))

    statuses = [client.get("/v1/scans/x", headers=bearer(secret)).status_code for _ in range(4)]

    assert statuses == [404, 404, 404, 429]


def test_an_unfit_counter_is_a_settings_error(make_application: MakeApp) -> None:
    with pytest.raises(SettingsError, match="RATE_LIMIT_STORAGE"):
        create_app(make_application(rate_limit_storage="filing-cabinet://"))
