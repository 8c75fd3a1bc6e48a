"""Still pictures of kept images: opened within the limits of an upload, one frame at a time, and remembered for a moment."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dashboard.covering import LONG, fitted
from moderation import media
from moderation.errors import NotFoundError
from moderation.media import MediaLimits
from moderation.storage import ImageStore

MOST_REMEMBERED = 16
"""Pictures of at most 960 × 960 pixels: 44 MB."""

SECONDS = 60.0
"""For how long: as long as somebody moves over the fields of one picture."""

Pixels = NDArray[np.uint8]
Key = tuple[str, str, int]


@dataclass
class Stills:
    """Frames of kept images, the longer side at most 960 pixels. An animation is never sent, only one of its frames.

    Raises StorageError (404 where the file is gone) and MediaError, like an upload. Safe to share between threads.
    """

    store: ImageStore
    limits: MediaLimits
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[Key, tuple[float, Pixels]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, tenant: str, sha256: str, number: int = 0) -> Pixels:
        """The first frame, or another of those that the checks looked at, by number. Nothing behind the first is decoded for it."""
        known = self._recall((tenant, sha256, number))
        if known is not None:
            return known
        limits = self.limits if number else replace(self.limits, sampled_frames=1)
        frames = media.open(self.store.get(tenant, sha256), limits).frames
        if number >= len(frames):
            raise NotFoundError("The image has no such frame.", hint="See the case.")
        pixels = np.asarray(fitted(frames[number].pixels, LONG))
        self._remember((tenant, sha256, number), pixels)
        return pixels

    def _recall(self, key: Key) -> Pixels | None:
        with self._lock:
            since, pixels = self._known.get(key, (0.0, None))
            return pixels if pixels is not None and self.clock() - since < SECONDS else None

    def _remember(self, key: Key, pixels: Pixels) -> None:
        with self._lock:
            self._known[key] = self.clock(), pixels
            self._known.move_to_end(key)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
