"""The API keeps to its own OpenAPI description, whatever is sent (schemathesis)."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from api.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.settings import Settings
from tests.api.conftest import MakeApp

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def operations() -> Iterator[str]:
    """Every operation that the API describes, as `GET /path`."""
    for path, methods in create_app(Application(Settings())).openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in methods)


@pytest.fixture
def schema(make_application: MakeApp) -> schemathesis.BaseSchema:
    application = make_application(require_key=False, people_keys=new_secret("k1"), takedown_keys=new_secret("k1"))
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(application))


@pytest.mark.parametrize("operation", list(operations()))
def test_answers_keep_to_the_description(schema: schemathesis.BaseSchema, operation: str) -> None:
    method, path = operation.split(" ")

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(schema[path][method].as_strategy())
        case.call_and_validate(checks=CHECKS)

    check()
