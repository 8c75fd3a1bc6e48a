"""What workers and beat say to Prometheus, asked of real processes."""

import re
import socket
from pathlib import Path

import httpx
import pytest

from moderation.commands import metrics
from moderation.errors import SettingsError
from tests.moderation.jobs.test_workers import app, broker, environment, process, until

__all__ = ["app", "broker", "environment"]

pytestmark = pytest.mark.slow


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: what is counted is the same on every database."""
    return f"sqlite:///{tmp_path / 'palisade.db'}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def said(port: int) -> str:
    """What is at a port, '' while nobody listens."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    except httpx.TransportError:
        return ""


def figure(text: str, name: str) -> float:
    found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)
    return float(found[1]) if found else 0.0


@pytest.mark.usefixtures("app")
def test_workers_and_beat_say_what_they_did(environment: dict[str, str]) -> None:
    ports = free_port(), free_port()
    done = 'palisade_task_seconds_count{state="success",task="chore events"}'
    sent = 'palisade_beat_sent_total{task="chore events"}'
    with (
        process(environment, "worker", "--concurrency", "2", "--metrics-port", str(ports[0])),
        process(environment, "beat", "--metrics-port", str(ports[1])),
    ):
        until(lambda: figure(said(ports[0]), done) >= 3 and figure(said(ports[1]), sent) >= 3)
        until(lambda: figure(said(ports[0]), "palisade_worker_processes") == 2)
        worker, beat = said(ports[0]), said(ports[1])

    assert figure(worker, "palisade_worker_resident_bytes") > 50e6
    assert figure(beat, "palisade_beat_sent_timestamp_seconds") > 1.7e9
    assert figure(beat, "process_resident_memory_bytes") > 10e6


def test_tasks_are_named_by_what_they_do() -> None:
    assert metrics.named("palisade.chore", ["events"]) == "chore events"
    assert metrics.named("palisade.scan_job", ["job_1"]) == "scan_job"


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="Address already in use"):
            metrics.serve_beat("127.0.0.1", taken.getsockname()[1])
