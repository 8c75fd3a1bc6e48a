"""Logs are JSON, and a trace shows no values."""

import json
from collections.abc import Iterator

import pytest
import structlog

from moderation.logs import configure_logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_trace_shows_no_local_variable(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    try:
        secret = "hunter2" * 2
        raise ValueError(len(secret))
    except ValueError as error:
        structlog.get_logger().error("request failed", exc_info=error)

    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "request failed"
    assert "ValueError: 14" in line["exception"]
    assert "hunter2hunter2" not in line["exception"]


def test_below_the_level_nothing_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning")
    structlog.get_logger().info("said")

    assert capsys.readouterr().err == ""
