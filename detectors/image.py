"""An opened image: what every detector is given."""

import hashlib
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of an image: `pixels` is RGB uint8, shape (height, width, 3), C-contiguous, upright.

    `index` is the frame's number in the file, from 0; still images have the one frame 0.
    """

    index: int
    pixels: Pixels

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image file, bounded and upright.

    data: the bytes of the file as they came.
    format: what the bytes are (`JPEG`, `PNG`, …), whatever the name said.
    width, height: of the upright picture at full size, in pixels. Frames may be smaller: very large
        pictures are decoded at a reduced scale, so regions are fractions of the side, never pixels.
    frames: one or more sampled frames; `frame_count` is how many the file has.
    warnings: what was wrong with the file and could be passed over (an invalid ICC profile, say).
    features: what detectors leave for later detectors of the same scan (see `Detector.provides`).
    """

    data: bytes
    format: str
    width: int
    height: int
    frames: tuple[Frame, ...]
    frame_count: int = 1
    warnings: tuple[str, ...] = ()
    features: MutableMapping[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, 64 lower-case hex digits."""
        return hashlib.sha256(self.data).hexdigest()
