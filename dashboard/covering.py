"""Pictures as reviewers are sent them: covered on the server, so that what was not asked for never reaches a screen."""

import io

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from detectors.base import Region
from moderation.accounts.records import Display

LONG, SHORT = 960, 200
"""Pixels of the longer side: of a picture that was asked for, and of a small one."""

COVERED = 480
"""Of a covered picture that is not small."""

PART = 3
"""A part is one of 3 by 3 fields."""


FACE, AROUND = 320, 0.25
"""Pixels of the longer side of a face that is compared, and how much around it is shown, in its own sizes."""


def covered(pixels: NDArray[np.uint8], display: Display) -> PIL.Image.Image:
    """Blurred, without colour and small, as the display says. A blur is in pixels of the picture as it is sent."""
    picture = fitted(pixels, SHORT if display.small else COVERED)
    picture = picture.convert("L") if display.grey else picture
    picture = picture.filter(PIL.ImageFilter.GaussianBlur(display.blur)) if display.blur else picture
    return picture.convert("RGB")


def outlined(pixels: NDArray[np.uint8], display: Display) -> PIL.Image.Image:
    """Large and grey, with a third of the blur, at least 4 pixels: what is going on, without detail."""
    picture = fitted(pixels, LONG).convert("L")
    return picture.filter(PIL.ImageFilter.GaussianBlur(max(4, display.blur / 3))).convert("RGB")


def with_part(pixels: NDArray[np.uint8], display: Display, field: int) -> PIL.Image.Image:
    """Covered, but for one of nine fields, counted row by row from 0."""
    whole = fitted(pixels, LONG)
    picture = covered(pixels, display).resize(whole.size)
    row, column = divmod(field, PART)
    edges = [[round(length * i / PART) for i in range(PART + 1)] for length in whole.size]
    box = (edges[0][column], edges[1][row], edges[0][column + 1], edges[1][row + 1])
    picture.paste(whole.crop(box), box)
    return picture


def cropped(pixels: NDArray[np.uint8], region: Region | None = None) -> PIL.Image.Image:
    """A region with some of what is around it, at most 320 pixels; the whole picture, at most 960, where none is named."""
    if region is None:
        return fitted(pixels, LONG)
    height, width = pixels.shape[:2]
    side = max(region.width * width, region.height * height) * (1 + 2 * AROUND)
    middle = (region.x + region.width / 2) * width, (region.y + region.height / 2) * height
    left, top = (max(0, round(at - side / 2)) for at in middle)
    right, bottom = min(width, round(middle[0] + side / 2)), min(height, round(middle[1] + side / 2))
    return fitted(np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]), FACE)


def fitted(pixels: NDArray[np.uint8], side: int) -> PIL.Image.Image:
    """The picture with its longer side at most so long."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return PIL.Image.fromarray(pixels)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    whole = min(int(1 / scale), height, width)
    if whole > 1:  # by a whole number first, which is many times as fast; what is left is less than a half
        cut = pixels[: height // whole * whole, : width // whole * whole]
        pixels = np.asarray(cv2.resize(cut, (width // whole, height // whole), interpolation=cv2.INTER_AREA), np.uint8)
    return PIL.Image.fromarray(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8))


def as_jpeg(picture: PIL.Image.Image) -> bytes:
    """The bytes of a picture, without any metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
