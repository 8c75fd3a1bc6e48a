"""Where the forensic network looks: square crops of a picture at its own resolution."""

import numpy as np
from numpy.typing import NDArray

from detectors.image import Pixels

SIDE = 96
"""Pixels along a side of a crop."""

MOST = 8
"""Crops of one picture."""

GRID = 8
"""Most places along a side that are considered."""


def places(height: int, width: int) -> list[tuple[int, int]]:
    """Top and left of the crops that are considered, evenly over a picture whose sides are at least SIDE."""
    rows, columns = (min(GRID, max(1, -(-side // SIDE))) for side in (height, width))
    return [
        (round(top), round(left))
        for top in np.linspace(0, height - SIDE, rows)
        for left in np.linspace(0, width - SIDE, columns)
    ]


def detail(pixels: Pixels) -> float:
    """Mean difference of neighbours in green: what there is for traces to be seen in."""
    green = pixels[..., 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def crops(pixels: Pixels, most: int = MOST) -> NDArray[np.uint8]:
    """Up to `most` crops with the most detail, uint8 (n, SIDE, SIDE, 3), in reading order; at least one.

    pixels: RGB (h, w, 3). A picture smaller than a crop is continued by reflection.
    """
    short = [(0, max(0, SIDE - side)) for side in pixels.shape[:2]]
    if any(after for _, after in short):
        pixels = np.pad(pixels, [*short, (0, 0)], mode="symmetric")
    parts = [pixels[top : top + SIDE, left : left + SIDE] for top, left in places(*pixels.shape[:2])]
    order = np.argsort([-detail(part) for part in parts], kind="stable")[:most]
    return np.stack([parts[number] for number in sorted(order)])
