"""Which parts of a picture speak for generation: the `synthetic` heads on a grid of crops, for a person who looks.

A scan reads the centre square once. This reads overlapping squares of half the short side, each as the heads read a whole
picture, and takes as many embeddings as there are squares: seconds, not milliseconds, so only when somebody asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.base import Region
from detectors.embedding import EmbeddingDetector
from detectors.image import Frame
from detectors.synthetic import SyntheticDetector

SHARE = 0.5
"""Side of a square, as a share of the picture's short side."""
MOST = 16
"""Squares of one picture."""
LEAST_SIDE = 96
"""Pixels of a square below which enlarging it would say more than the picture does."""


@dataclass(frozen=True)
class Cell:
    """One square. score: the probability that it was generated, where half are; fpr: share of real pictures that score so."""

    region: Region
    score: float
    fpr: float

    def as_dict(self) -> dict[str, Any]:
        return {"region": self.region.as_dict(), "score": round(self.score, 4), "fpr": float(f"{self.fpr:.3g}")}


def heat(frame: Frame, embedding: EmbeddingDetector, synthetic: SyntheticDetector) -> list[Cell]:
    """The cells of a frame, row by row; none where it is too small to be looked at in parts. Deterministic."""
    boxes = squares(frame.width, frame.height)
    cells = []
    for left, top, side in boxes:
        crop = Frame(frame.index, np.ascontiguousarray(frame.pixels[top : top + side, left : left + side]))
        _, blocks = embedding.embed([crop])
        score = synthetic.score(blocks)
        region = Region(left / frame.width, top / frame.height, side / frame.width, side / frame.height)
        cells.append(Cell(region, score, synthetic.calibration.fpr(score)))
    return cells


def squares(width: int, height: int) -> list[tuple[int, int, int]]:
    """(left, top, side) in pixels: half a side apart and evenly spread, at most MOST; none below LEAST_SIDE."""
    side = round(min(width, height) * SHARE)
    if side < LEAST_SIDE:
        return []
    columns, rows = (max(1, round((length - side) / (side / 2)) + 1) for length in (width, height))
    while columns * rows > MOST:
        columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
    places = [np.linspace(0, length - side, count).round() for length, count in ((width, columns), (height, rows))]
    return [(int(left), int(top), side) for top in places[1] for left in places[0]]


def drawn(frame: Frame, cells: Sequence[Cell], side: int = 512) -> PIL.Image.Image:
    """The frame in grey with its cells in red, stronger where a cell scores higher; its longer side at most `side` px."""
    picture = PIL.Image.fromarray(frame.pixels).convert("L").convert("RGB")
    picture.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    strength = _strength(cells, picture.width, picture.height)[..., None] * np.float32(0.65)
    red = np.array([200, 30, 30], dtype=np.float32)
    mixed = np.asarray(picture, dtype=np.float32) * (1 - strength) + red * strength
    return PIL.Image.fromarray(mixed.round().astype(np.uint8))


def _strength(cells: Sequence[Cell], width: int, height: int) -> NDArray[np.float32]:
    """The mean score of the cells over each pixel, float32 (height, width) in [0, 1]."""
    total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for cell in cells:
        left, top = round(cell.region.x * width), round(cell.region.y * height)
        right = round((cell.region.x + cell.region.width) * width)
        bottom = round((cell.region.y + cell.region.height) * height)
        total[top:bottom, left:right] += cell.score
        count[top:bottom, left:right] += 1
    return np.asarray(total / np.maximum(count, 1), dtype=np.float32)
