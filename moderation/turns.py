"""Who scans when: uploads at once, as many as there is room for; bulk work where no upload wants the room."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moderation.errors import RateLimitError

Pause = Callable[[], None]
"""Called by bulk work between two steps: returns at once, or after the uploads that want its room."""


COURTESY_SECONDS = 2.0
"""How long bulk work stands back for uploads at one pause, where there is room for both: else a busy server would never do any."""

PATIENCE_SECONDS = 20.0
"""How long one piece of bulk work waits in all before it is handed back."""


class Turns:
    """Gives out `concurrency` turns. Safe to share between threads.

    Of uploads, `waiting` more wait for theirs, and further ones are refused, so that memory stays bounded. Bulk work has one
    turn fewer than there are (of one, that one), begins no step while an upload waits, and stands back while one runs.
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
        """A turn of bulk work, which is given up at a pause while uploads run or wait.

        Each pause is courteous for `COURTESY_SECONDS` at most, then goes on where there is room. Raises RateLimitError, here
        and at pauses, once all of them together took `PATIENCE_SECONDS`.
        """
        held, patience = False, PATIENCE_SECONDS

        def pause() -> None:
            nonlocal held, patience
            with self._changed:
                if held and self._is_quiet():
                    return
                self._bulk -= held
                held = False
                self._changed.notify_all()
                started = time.monotonic()
                self._let_uploads_pass(patience)
                patience -= time.monotonic() - started
                self._bulk += 1
                held = True

        try:
            pause()
            yield pause
        finally:
            with self._changed:
                self._bulk -= held
                self._changed.notify_all()

    def _let_uploads_pass(self, patience: float) -> None:
        if self._changed.wait_for(
            lambda: self._is_quiet() and self._has_room(), timeout=min(COURTESY_SECONDS, patience)
        ):
            return
        if not self._changed.wait_for(
            lambda: not self._waiting and self._has_room(), timeout=patience - COURTESY_SECONDS
        ):
            raise RateLimitError(
                "Uploads leave no room for bulk work.", retry_after=5, hint="Run `palisade worker` on another machine."
            )

    def _is_quiet(self) -> bool:
        return not self._running and not self._waiting

    def _has_room(self) -> bool:
        return self._running + self._bulk < self.concurrency and self._bulk < self._bulk_most
