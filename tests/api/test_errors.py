"""Every error has the one shape."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.errors import add_error_handlers
from moderation.errors import ModerationError, RateLimitError


class Body(BaseModel):
    number: int


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/ours")
    def ours() -> None:
        raise ModerationError("7 is too many; 5 is the most.", hint="Send 5.", code="too_many", status=422)

    @app.get("/busy")
    def busy() -> None:
        raise RateLimitError("Too many.", retry_after=9)

    @app.get("/defect")
    def defect() -> None:
        raise ZeroDivisionError("a secret path /srv/keys")

    @app.post("/body")
    def body(body: Body) -> None:
        raise AssertionError(body)

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/ours", 422, "too_many"),
        ("GET", "/busy", 429, "rate_limited"),
        ("GET", "/defect", 500, "internal"),
        ("POST", "/body", 422, "request_invalid"),
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/ours", 405, "method_not_allowed"),
    ],
)
def test_errors_have_one_shape(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message", "hint"}
    assert answer.json()["error"]["code"] == code


def test_a_defect_tells_nothing_of_itself(client: TestClient) -> None:
    assert "/srv/keys" not in client.get("/defect").text


def test_a_busy_answer_says_when_to_come_again(client: TestClient) -> None:
    assert client.get("/busy").headers["retry-after"] == "9"
