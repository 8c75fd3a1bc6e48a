"""The whole server: which part answers what, and the headers of pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from asgi import Server
from moderation.application import Application
from moderation.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    application = Application(
        Settings(_env_file=None, data_dir=tmp_path, models_dir=tmp_path / "none", require_key=False)
    )
    application.database.migrate()
    yield TestClient(Server(application))
    application.database.close()


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/v1/scans/x", "/healthz/x"])
def test_the_api_answers_in_its_own_shape(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code in (404, 405)
    assert set(answer.json()) == {"error"}


def test_pages_are_the_dashboards(client: TestClient) -> None:
    assert "Drop an image" in client.get("/").text
    missing = client.get("/nothing")
    assert missing.status_code == 404
    assert "There is no such page" in missing.text


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/drop.js"])
def test_pages_take_nothing_from_elsewhere_and_run_no_inline_script(client: TestClient, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_pages_have_no_inline_script_or_style() -> None:
    for template in (Path(__file__).parents[2] / "dashboard/templates").glob("*.html"):
        text = template.read_text()
        assert "<script>" not in text
        assert "style=" not in text
        assert " onclick" not in text


def test_without_its_models_the_server_lives_and_is_not_ready(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert any("palisade models pull" in problem["hint"] for problem in ready.json()["problems"])
