"""Keeps the pictures that are being decoded within a bound of memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets decoding through while what is in flight fits; what is larger than everything goes alone.

    capacity, small: bytes. What costs less than `small` neither waits nor is counted.
    """

    def __init__(self, capacity: int, small: int) -> None:
        self.capacity = capacity
        self.small = small
        self._in_flight = 0
        self._changed = threading.Condition()
        self._turnstile = threading.Lock()  # whoever waits keeps later ones behind, so that a large one is not starved

    @contextmanager
    def hold(self, cost: int) -> Iterator[float]:
        """Wait until `cost` bytes fit, hold them in the block, and say how many seconds the wait was."""
        if cost < self.small:
            yield 0.0
            return
        cost = min(cost, self.capacity)
        started = time.monotonic()
        with self._turnstile, self._changed:
            self._changed.wait_for(lambda: self._in_flight + cost <= self.capacity)
            self._in_flight += cost
        try:
            yield time.monotonic() - started
        finally:
            with self._changed:
                self._in_flight -= cost
                self._changed.notify_all()


# 64 megapixels at Pillow's 4 bytes each; photographs of up to 4 megapixels pass
GATE = Gate(capacity=256_000_000, small=16_000_000)
