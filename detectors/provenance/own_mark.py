"""The invisible mark of Palisade's own generator: written into, and read from, the brightness of a picture.

Six low frequencies of each 8 × 8 block's DCT (the blocks that JPEG has) are each moved to an even or an odd multiple of
half a step of `STEP` (quantisation index modulation; Chen and Wornell, 2001). Which of both follows from a key phrase and
repeats every 8 × 8 blocks, so that a picture of 64 px holds the whole mark and a larger one many times.

It is read blind: how clearly each value lies at even multiples is summed over all repetitions, the mean of each frequency
taken off, and what is left correlated with the key, at every shift by whole blocks. Without a mark the correlation, times
the root of its 384 places, is distributed as a normal deviate, whatever the picture shows: half of the signs of the key
agree with it by chance.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.image import Pixels

SCHEME = "palisade"
PHRASE = b"made by Palisade's generator, 1"
BLOCK = 8
TILE = 8
LEAST_SIDE = BLOCK * TILE
STEP = 24.0
FREQUENCIES = ((0, 2), (2, 0), (1, 1), (1, 2), (2, 1), (2, 2))
PLACES = TILE * TILE * len(FREQUENCIES)
READ_PIXELS = 1_000_000
"""Rows are read from the top up to about this many pixels."""
LEAST_DEVIATION = 7.0
"""Normal deviates from which a mark is reported: by chance 1e-10 for the 64 shifts together. Of 1,261 real and generated
pictures without a mark, at full size and scaled to 64 px, the nearest reached 4.4."""

Floats = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_COSINES = np.array(
    [
        [
            math.sqrt((1 if order == 0 else 2) / BLOCK) * math.cos(math.pi * (2 * at + 1) * order / (2 * BLOCK))
            for at in range(BLOCK)
        ]
        for order in range(3)
    ],
    np.float32,
)
"""The first three rows of the orthonormal DCT."""
_BASES = np.stack([np.outer(_COSINES[row], _COSINES[column]) for row, column in FREQUENCIES])


def _signs() -> Floats:
    """The key, +1 and -1 with as many of each in every frequency: shape (frequencies, TILE, TILE)."""
    signs = []
    for number in range(len(FREQUENCIES)):
        digests = [hashlib.sha256(PHRASE + bytes([number, place])).digest() for place in range(TILE * TILE)]
        order = sorted(range(TILE * TILE), key=digests.__getitem__)
        sign = np.ones(TILE * TILE, np.float32)
        sign[order[: TILE * TILE // 2]] = -1
        signs.append(sign.reshape(TILE, TILE))
    return np.stack(signs)


SIGNS = _signs()
_SHIFTED = np.stack(
    [np.roll(SIGNS, (down, right), axis=(1, 2)).ravel() for down in range(TILE) for right in range(TILE)]
)


@dataclass(frozen=True)
class OwnMatch:
    """A mark that was read: normal deviates above chance, and how many of the 384 places have the key's sign."""

    deviation: float
    matched: int

    @property
    def chance(self) -> float:
        """How likely a picture without a mark shows as much at any of the shifts."""
        return min(1.0, TILE * TILE * math.erfc(self.deviation / math.sqrt(2)) / 2)

    @property
    def score(self) -> float:
        """The share of places that have the key's sign."""
        return self.matched / PLACES


def embed(pixels: Pixels) -> Pixels:
    """A copy of an RGB picture (height, width, 3) that carries the mark. Raises ValueError below 64 px a side."""
    height, width = _whole(pixels)
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"The mark needs {LEAST_SIDE} px a side; the picture has {min(pixels.shape[:2])}.")
    values = _values(pixels[:height, :width])
    rows, columns = height // BLOCK, width // BLOCK
    key = np.tile(SIGNS, (1, -(-rows // TILE), -(-columns // TILE)))[:, :rows, :columns]
    aims = np.where(key > 0, 0, STEP / 2).astype(np.float32)
    change = np.rint((values - aims) / STEP) * STEP + aims - values
    spread = np.einsum("frc,fyx->rycx", change, _BASES).reshape(height, width)
    marked = pixels.copy()
    added = pixels[:height, :width].astype(np.float32) + spread[:, :, None]
    marked[:height, :width] = np.clip(np.rint(added), 0, 255).astype(np.uint8)
    return marked


def find(pixels: Pixels) -> OwnMatch | None:
    """The mark that an RGB picture carries, or None. Pictures below 64 px a side cannot carry one."""
    height, width = _whole(pixels)
    if min(height, width) < LEAST_SIDE:
        return None
    rows = min(height, max(LEAST_SIDE, READ_PIXELS // width // LEAST_SIDE * LEAST_SIDE))
    folded = _folded(_values(pixels[:rows, :width]))
    length = float(np.linalg.norm(folded))
    if length == 0:
        return None
    correlations = _SHIFTED @ folded.ravel() / length
    best = int(correlations.argmax())
    deviation = float(correlations[best])
    if deviation < LEAST_DEVIATION:
        return None
    return OwnMatch(deviation, int((np.sign(folded.ravel()) == _SHIFTED[best]).sum()))


def deviation(pixels: Pixels) -> float:
    """The largest normal deviate of any shift: for measuring how far pictures without a mark stay below the limit."""
    height, width = _whole(pixels)
    folded = _folded(_values(pixels[:height, :width]))
    length = float(np.linalg.norm(folded))
    return float((_SHIFTED @ folded.ravel()).max() / length) if length else 0.0


def _whole(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[0] // BLOCK * BLOCK, pixels.shape[1] // BLOCK * BLOCK


def _values(pixels: Pixels) -> Floats:
    """The six frequencies of each block's brightness: shape (frequencies, rows, columns)."""
    luma = pixels @ _LUMA
    height, width = luma.shape
    rows = np.einsum("ky,rycx->kcrx", _COSINES, luma.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK))
    across = rows @ _COSINES.T
    return np.stack([across[row, :, :, column].T for row, column in FREQUENCIES])


def _folded(values: Floats) -> Floats:
    """How clearly values lie at even multiples, summed over the repetitions: shape (frequencies, TILE, TILE)."""
    clear = np.cos(values * np.float32(2 * np.pi / STEP))
    _, rows, columns = clear.shape
    clear = np.pad(clear - clear.mean(axis=(1, 2), keepdims=True), ((0, 0), (0, -rows % TILE), (0, -columns % TILE)))
    tiles = clear.reshape(len(FREQUENCIES), clear.shape[1] // TILE, TILE, clear.shape[2] // TILE, TILE).sum(axis=(1, 3))
    return np.asarray(tiles - tiles.mean(axis=(1, 2), keepdims=True), np.float32)
