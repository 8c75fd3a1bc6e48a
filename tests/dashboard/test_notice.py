"""The pages of takedown notices: what is refused, and by whom they may be filed."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from asgi import Server
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.errors import SettingsError
from tests.api.conftest import MakeApp, make_application, scanner
from tests.demo import FORM
from tests.factories import encode, picture

__all__ = ["make_application", "scanner"]

FILED = {**FORM, "urls": "https://host.example/i/1"}

Made = Callable[..., TestClient]


@pytest.fixture
def made(make_application: MakeApp) -> Made:
    """Makes clients of a whole server, with settings changed as given."""

    def make(**changed: object) -> TestClient:
        application = make_application(**{"takedown_keys": new_secret("t"), **changed})
        return TestClient(Server(application), follow_redirects=False)

    return make


@pytest.fixture
def client(made: Made, database_url: str) -> TestClient:
    return made(database_url=database_url)


def test_a_complete_notice_leads_to_its_private_page(client: TestClient) -> None:
    filed = client.post("/notice", data=FILED, files={"image": ("x.png", encode(picture()), "image/png")})

    assert filed.status_code == 303
    page = client.get(filed.headers["location"])
    assert "Your notice is being looked at" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("missing", ["name", "contact", "statement", "signature", "good_faith", "urls"])
def test_what_is_missing_is_said_and_nothing_is_filed(client: TestClient, missing: str) -> None:
    page = client.post("/notice", data={**FILED, missing: ""})

    assert page.status_code == 422
    assert "was not filed yet" in page.text


def test_an_image_that_cannot_be_opened_is_said(client: TestClient) -> None:
    page = client.post("/notice", data=FILED, files={"image": ("x.png", b"not an image", "image/png")})

    assert page.status_code in (415, 422)
    assert "was not filed yet" in page.text


def test_one_address_files_so_many_an_hour(made: Made) -> None:
    client = made(notice_rate_limit="2/hour", trusted_proxies=1)
    one, other = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "203.0.113.8"}

    statuses = [client.post("/notice", data={**FILED, "urls": f"https://h.example/{n}"}, headers=one) for n in range(3)]

    assert [answer.status_code for answer in statuses] == [303, 303, 429]
    assert "Too many notices" in statuses[2].text
    assert client.post("/notice", data=FILED, headers=other).status_code == 303


def test_the_header_of_proxies_is_not_believed_unless_told_so(made: Made) -> None:
    client = made(notice_rate_limit="1/hour")

    statuses = [
        client.post("/notice", data=FILED, headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(2)
    ]

    assert statuses == [303, 429]


def test_an_unfit_rate_is_a_settings_error(made: Made) -> None:
    with pytest.raises(SettingsError, match="NOTICE_RATE_LIMIT"):
        made(notice_rate_limit="seldom")


def test_without_a_key_the_form_says_that_it_is_not_set_up(made: Made) -> None:
    client = made(takedown_keys=None)

    assert "cannot be filed here" in client.get("/notice").text
    assert client.post("/notice", data=FILED).status_code == 503


@pytest.mark.parametrize("path", ["/notice/short", f"/notice/{'x' * 32}", "/notice/a/b"])
def test_wrong_links_are_no_pages(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(f"/notice/{'x' * 32}/withdraw").status_code == 404


def test_an_incomplete_notice_is_completed_on_its_page(client: TestClient) -> None:
    server = client.app
    assert isinstance(server, Server)
    application: Application = server.application
    from moderation.takedowns.records import Filing

    filing = Filing("A", "a@example.org", statement="I did not agree to it.", good_faith=False)
    _, token = application.takedowns.file("default", filing)
    page = client.get(f"/notice/{token}").text
    assert 'name="good_faith"' in page
    assert 'name="urls"' in page

    added = {"good_faith": "yes", "urls": "https://host.example/i/9", "signature": "A"}
    assert client.post(f"/notice/{token}/complete", data=added).status_code == 303
    assert "is being looked at" in client.get(f"/notice/{token}").text
    assert client.post(f"/notice/{token}/complete", data=added).status_code == 409


def test_a_body_above_the_limit_is_refused(made: Made) -> None:
    client = made(max_bytes=1_000)

    assert client.post("/notice", data={**FILED, "statement": "x" * 100_000}).status_code == 413
