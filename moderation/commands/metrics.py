"""What workers and beat say to Prometheus: they serve nothing else, so each has a port of its own for it."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer

import prometheus_client
from billiard import current_process
from celery.signals import after_task_publish, task_postrun, task_prerun, worker_process_init
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from moderation.errors import SettingsError

SECONDS = (0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where Prometheus's client keeps what processes count, so that one of them can say it for all."""


class Children(Collector):
    """The processes of a worker, its own aside, and their memory; from /proc."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        sizes = [size for pid in children_of(os.getpid()) if (size := resident(pid)) is not None]
        processes = GaugeMetricFamily("palisade_worker_processes", "Processes that take tasks.")
        processes.add_metric([], len(sizes))
        memory = GaugeMetricFamily("palisade_worker_resident_bytes", "Memory of the largest of them.")
        if sizes:
            memory.add_metric([], max(sizes))
        yield from (processes, memory)


def children_of(pid: int) -> Sequence[int]:
    """The processes that any thread of a process began; none where there is no /proc."""
    found: list[int] = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, each.read_text().split())
    return found


def resident(pid: int) -> int | None:
    """Resident memory in bytes; None where the process has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve_worker(host: str, port: int) -> None:
    """Count tasks in the processes of this worker, and say so here. Call it before any of them begins."""
    folder = tempfile.TemporaryDirectory(prefix="palisade-metrics-")
    os.environ[FOLDER] = folder.name
    # By place, not by process id: a process that takes the place of another counts on, and files do not pile up.
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(_place)  # type: ignore[no-untyped-call]
    seconds = Histogram(
        "palisade_task_seconds", "Seconds of tasks.", ("task", "state"), buckets=SECONDS, registry=CollectorRegistry()
    )
    _count_tasks(seconds)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder.name)  # type: ignore[no-untyped-call]
    registry.register(Children())
    server = _serve(host, port, registry)

    def leave(**_: Any) -> None:
        server.socket.close()  # of the parent: the port is free once that one is gone

    worker_process_init.connect(leave, weak=False)
    _KEPT.append(folder)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Folders that go when the process ends."""


def _place() -> str:
    """Which of a worker's processes this is."""
    return f"place{getattr(current_process(), 'index', 'parent')}"


def _count_tasks(seconds: Histogram) -> None:
    begun: dict[str, float] = {}

    def begin(task_id: str, **_: Any) -> None:
        begun[task_id] = time.monotonic()

    def end(task_id: str, task: Any, args: Sequence[Any], state: str | None = None, **_: Any) -> None:
        took = time.monotonic() - begun.pop(task_id, time.monotonic())
        seconds.labels(named(task.name, args), (state or "unknown").lower()).observe(took)

    task_prerun.connect(begin, weak=False)
    task_postrun.connect(end, weak=False)


def named(task: str, args: Sequence[Any]) -> str:
    """A task as series name it: chores by their own name."""
    name = task.removeprefix("palisade.")
    return f"chore {args[0]}" if name == "chore" and args else name


def serve_beat(host: str, port: int) -> None:
    """Count what beat sends, and say so here."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    sent = Counter("palisade_beat_sent_total", "Messages to workers.", ("task",), registry=registry)
    last = Gauge("palisade_beat_sent_timestamp_seconds", "When the last was sent.", registry=registry)

    def count(sender: str, body: Any, **_: Any) -> None:
        sent.labels(named(sender, body[0])).inc()
        last.set_to_current_time()

    after_task_publish.connect(count, weak=False)
    _serve(host, port, registry)


def _serve(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    """Answer in a thread of this process. Raises SettingsError where the port is taken, or the address is not this machine's."""
    try:
        return start_http_server(port, host, registry)[0]
    except OSError as error:
        raise SettingsError(
            f"Nothing can be served on {host}:{port}: {error.strerror}.", hint="Choose another --metrics-port."
        ) from error
