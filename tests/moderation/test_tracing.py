"""Traces: one from the request to the webhook, nothing private in them, and no cost where they are off."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from moderation import events, tracing
from moderation.database import Database
from moderation.errors import SettingsError
from moderation.events import Outbox
from moderation.fetch import SafeClient
from moderation.settings import Settings
from tests.api.conftest import MakeApp, make_application, scanner  # noqa: F401 - fixtures
from tests.factories import encode, picture
from tests.hosts import running_host

SECRET = "whsec_" + "bmV3IHNlY3JldCBuZXcgc2VjcmV0IG5ldyBzZWNyZXQ="
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[Any]:
    """What was traced, the first ended first."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracing.start_with(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    tracing.stop()


def test_a_scan_is_traced_from_the_request_to_each_detector(spans: Any, make_application: MakeApp) -> None:  # noqa: F811
    client = TestClient(create_app(make_application(require_key=False)))

    answer = client.post("/v1/scans", files={"image": encode(picture())}, headers={"traceparent": PARENT})

    found = {span.name: span for span in spans()}
    request, scan = found["POST /v1/scans"], found["scan"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.attributes["palisade.status"] == 201
    assert scan.parent.span_id == request.context.span_id
    assert scan.attributes["palisade.scan"] == answer.json()["id"]
    detectors = [span for name, span in found.items() if name.startswith("detector ")]
    assert {"detector nsfw", "detector faces"} <= set(found)
    assert all(span.parent.span_id == scan.context.span_id for span in detectors)


def test_a_scan_that_is_done_later_joins_the_trace_of_its_request(
    spans: Any,
    make_application: MakeApp,  # noqa: F811
) -> None:
    with TestClient(create_app(make_application(require_key=False))) as client:
        body = encode(picture(seed=5))
        place = client.post(
            "/v1/scans?async=true", content=body, headers={"traceparent": PARENT, "Content-Type": "image/png"}
        ).headers["location"]
        for _ in range(300):
            if client.get(place).json()["state"] == "done":
                break
            time.sleep(0.1)

    task = next(span for span in spans() if span.name == "task palisade.scan_job")
    assert f"{task.context.trace_id:032x}" == TRACE


def test_the_webhook_joins_the_trace_that_its_event_was_made_in(spans: Any, database: Database) -> None:
    with running_host(SECRET) as host:
        settings = Settings(
            _env_file=None,
            webhook_url=f"{host.url}/hook",
            webhook_secrets=SECRET,
            fetch_allowed_networks="127.0.0.0/8",
        )
        with tracing.span("deed", parent=PARENT), database.write() as session:
            events.add(session, "default", "test.told", {})

        assert Outbox(database, SafeClient(settings), settings).deliver() == 1
        assert host.refused == []

    deed, webhook = spans()
    assert f"{webhook.context.trace_id:032x}" == TRACE
    assert webhook.parent.span_id == deed.context.span_id
    assert webhook.attributes["palisade.delivered"] is True


def test_what_fails_is_marked(spans: Any) -> None:
    with pytest.raises(ValueError, match="no"), tracing.span("deed"):
        raise ValueError("no")

    assert spans()[0].status.status_code.name == "ERROR"


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-00", "é" * 200])
def test_a_parent_that_cannot_be_read_is_none(spans: Any, parent: str) -> None:
    with tracing.span("deed", parent=parent):
        pass

    assert spans()[0].parent is None


def test_off_nothing_is_imported_or_kept(database: Database) -> None:
    with tracing.span("deed") as span, database.write() as session:
        span.note("other", count=1)
        event = events.add(session, "default", "test.told", {})
    code = "import asgi, sys; assert not [m for m in sys.modules if m.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))], 'imported'"

    assert (tracing.traceparent(), event.traceparent) == ("", "")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_it_is_said() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.exporter'] = None\n"
        "from moderation import tracing\n"
        "try: tracing.start('http://collector:4318')\n"
        "except Exception as error: print(type(error).__name__, error, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert SettingsError.__name__ in done.stdout
    assert "palisade[otel]" in done.stdout
