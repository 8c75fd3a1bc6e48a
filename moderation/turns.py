"""Who scans when: uploads at once, as many as there is room for; bulk work where no upload wants the room."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moderation.errors import RateLimitError

Pause = Callable[[], None]
"""Called by bulk work between two steps: returns at once, or after the uploads that want its room."""


class Turns:
    """Gives out `concurrency` turns. Safe to share between threads.

    Of uploads, `waiting` more wait for theirs, and further ones are refused, so that memory stays bounded. Bulk work waits
    as long as it takes, has one turn fewer than there are (of one, that one), and holds none while an upload waits.
    """

    def __init__(self, concurrency: int, waiting: int) -> None:
        self.concurrency = concurrency
        self.most = concurrency + waiting
        self._bulk_most = max(1, concurrency - 1)
        self._changed = threading.Condition()
        self._running = self._bulk = self._waiting = 0

    @property
    def places(self) -> int:
        """How many more uploads may start or wait."""
        with self._changed:
            return self.most - self._running - self._waiting

    @contextmanager
    def upload(self) -> Iterator[None]:
        """An upload's turn. Raises RateLimitError when too many wait."""
        with self._changed:
            self._wait_for_upload()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _wait_for_upload(self) -> None:
        if self._running + self._waiting >= self.most:
            raise RateLimitError(
                "Too many scans wait their turn.",
                retry_after=2,
                hint="Send it again later, run more processes, or raise PALISADE_SCAN_WAITING.",
            )
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._running + self._bulk < self.concurrency)
            self._running += 1
        finally:
            self._waiting -= 1
            self._changed.notify_all()

    @contextmanager
    def bulk(self) -> Iterator[Pause]:
        """A turn of bulk work, which is given up at a pause while an upload waits."""
        held = False

        def pause() -> None:
            nonlocal held
            with self._changed:
                if held and not self._waiting:
                    return
                if held:
                    self._bulk -= 1
                    held = False
                    self._changed.notify_all()
                self._changed.wait_for(self._bulk_may_run)
                self._bulk += 1
                held = True

        pause()
        try:
            yield pause
        finally:
            with self._changed:
                self._bulk -= held
                self._changed.notify_all()

    def _bulk_may_run(self) -> bool:
        has_room = self._running + self._bulk < self.concurrency and self._bulk < self._bulk_most
        return has_room and not self._waiting
