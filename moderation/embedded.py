"""Workers in threads of a server, for whom runs no broker: the same tasks, through this process's memory."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from celery.worker import WorkController
from celery.worker import state as worker_state

from moderation.jobs.records import LANES

if TYPE_CHECKING:
    from moderation.application import Application

log = structlog.get_logger(__name__)

LEAST_URGENT = 19
"""The niceness of the thread that does bulk work: the kernel gives it what uploads leave."""


class Workers:
    """The threads of one process: one for bulk work, and as many as scans run at once for what somebody waits for."""

    def __init__(self, application: "Application") -> None:
        self.application = application
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start them, where they are not: the first job does, so that a server without any does not wait for messages."""
        with self._lock:
            if not self._threads:
                # the threads of Celery's pool find the application through this
                self.application.tasks.celery.set_default()
                self._threads.append(_start(self.application, "interactive", pool="threads"))
                self._threads.append(_start(self.application, "bulk", pool="solo"))

    def stop(self) -> None:
        """Let them finish what they have begun, and end."""
        with self._lock:
            worker_state.should_stop = 0
            for thread in self._threads:
                thread.join(timeout=30)
            worker_state.should_stop = None
            self._threads.clear()


@contextmanager
def working(application: "Application") -> Iterator[None]:
    """Work on jobs in this process while the block lasts; then finish those that were begun.

    Does nothing where a broker is set: then `palisade worker` does the work.
    """
    tasks = application.tasks
    if tasks.is_remote:
        yield
        return
    workers = Workers(application)
    tasks.wake = workers.start
    try:
        yield
    finally:
        tasks.wake = None
        workers.stop()


def tell_of_all(application: "Application") -> None:
    """What waits in the database was told to the threads of a process that has ended."""
    if not application.tasks.is_remote:
        for lane in LANES:
            application.recovery.ring(lane, application.recovery.now(), again=True)


def _start(application: "Application", lane: str, *, pool: str) -> threading.Thread:
    ready = threading.Event()
    worker: Any = WorkController(
        app=application.tasks.celery,
        hostname=f"{lane}@{os.getpid()}",
        queues=[application.tasks.queues[lane]],
        pool=pool,
        concurrency=1 if pool == "solo" else application.scanner.concurrency,
        loglevel="WARNING",
        ready_callback=lambda _consumer: ready.set(),
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
    )

    def run() -> None:
        if lane == "bulk":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_URGENT)
        worker.start()

    thread = threading.Thread(target=run, name=f"worker {lane}", daemon=True)
    thread.start()
    if not ready.wait(timeout=30):
        log.error("worker thread does not start", lane=lane)
    return thread
