"""Makes what tests need, real but small."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.image import Frame, Image


def picture(width: int = 320, height: int = 240, seed: int = 0) -> NDArray[np.uint8]:
    """A colourful picture with edges and shading, RGB uint8: enough structure for perceptual hashes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    layers = [127 + 60 * np.sin(x / random.uniform(9, 40) + y / random.uniform(9, 40) + i) for i in range(3)]
    pixels = np.stack(layers, axis=2)
    for _ in range(12):
        cx, cy, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(4, height / 4)
        pixels[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = random.uniform(0, 255, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encode(pixels: NDArray[np.uint8], format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file of the given format."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format=format, **options)
    return buffer.getvalue()


def make_image(*frames: NDArray[np.uint8], data: bytes | None = None, format: str = "PNG") -> Image:
    """An opened image of the given frames (by default one `picture()`)."""
    pixels: Sequence[NDArray[np.uint8]] = frames or (picture(),)
    height, width = pixels[0].shape[:2]
    return Image(
        data=encode(pixels[0]) if data is None else data,
        format=format,
        width=width,
        height=height,
        frames=tuple(Frame(i, np.ascontiguousarray(frame)) for i, frame in enumerate(pixels)),
        frame_count=len(pixels),
    )
