"""What is due from time to time: events to deliver, clocks to watch, lists to follow."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from moderation.leases import Leases

log = structlog.get_logger(__name__)

JITTER = random.Random()
"""Of its own: whoever seeds the process's random numbers does not line processes up."""


class Chores:
    """Runs each chore in turn. Each says how much it did; several processes may run the same ones side by side."""

    def __init__(self, chores: Mapping[str, Callable[[], int]], leases: Leases | None = None) -> None:
        self.chores = chores
        self.leases = leases

    def run(self) -> dict[str, int]:
        """Everything that is due now, and how much that was by chore. One that fails is logged and does not stop the rest."""
        done = {}
        for name, chore in self.chores.items():
            try:
                done[name] = chore()
            except Exception:
                log.exception("chore failed", chore=name)
                done[name] = 0
        return done

    def run_alone(self, name: str) -> int:
        """One chore, unless another process is at it; how much it did. Its errors are raised, as is KeyError for an unknown one."""
        chore = self.chores[name]
        if self.leases is None:
            return chore()
        with self.leases.held(f"chore {name}") as is_mine:
            return chore() if is_mine else 0

    @contextmanager
    def running(self, *, every: float) -> Iterator[None]:
        """Run in a thread every so many seconds while the block lasts; never for 0."""
        if not every:
            yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._loop, args=(stop, every), name="chores", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=30)

    def _loop(self, stop: threading.Event, every: float) -> None:
        while not stop.wait(every * JITTER.uniform(0.8, 1.2)):
            self.run()
