"""Statistics of residuals, the baseline beside the forensic network: how neighbouring residuals occur together, and spectra.

After the rich models of steganalysis (Fridrich and Kodovský, 2012), much smaller.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.image import Pixels
from detectors.training.forensic_crops import SIDE

Array = NDArray[np.float64]
Residual = tuple[NDArray[np.int64], NDArray[np.int64]]
"""One along rows, one along columns turned so that neighbours lie along the last axis."""

REACH = 2
"""Residuals are cut off at ±REACH quantisation steps."""


def statistics(crops: Pixels) -> Array:
    """What is kept of one picture's crops, uint8 (n, SIDE, SIDE, 3): about 480 numbers, (d,)."""
    colours = crops.astype(np.float64)
    luma = colours @ np.array([0.299, 0.587, 0.114])
    chroma = [colours[..., channel] - colours[..., 1] for channel in (0, 2)]
    pairs = [_first(luma), *(_second(luma, step) for step in (1, 2, 4)), *(_square(luma, step) for step in (1, 3))]
    pairs += [_first(values) for values in chroma]
    spectra = [_spectrum(luma, 16), _spectrum((chroma[0] + chroma[1]) / 2, 8)]
    return np.concatenate([*(_occurrences(pair) for pair in pairs), *spectra])


def _whole(values: Array) -> NDArray[np.int64]:
    return np.rint(values).astype(np.int64)


def _first(values: Array) -> Residual:
    whole = _whole(values)
    return np.diff(whole, axis=2), np.diff(whole, axis=1).transpose(0, 2, 1)


def _second(values: Array, step: int) -> Residual:
    return tuple(_whole((2 * v[:, :, 1:-1] - v[:, :, :-2] - v[:, :, 2:]) / 2 / step)
                 for v in (values, values.transpose(0, 2, 1)))  # type: ignore[return-value]  # fmt: skip


def _square(values: Array, step: int) -> Residual:
    """The pixel less what its eight neighbours foretell (Ker and Böhme, 2008)."""
    sides = values[:, :-2, 1:-1] + values[:, 2:, 1:-1] + values[:, 1:-1, :-2] + values[:, 1:-1, 2:]
    corners = values[:, :-2, :-2] + values[:, 2:, 2:] + values[:, :-2, 2:] + values[:, 2:, :-2]
    residual = _whole((values[:, 1:-1, 1:-1] - sides / 2 + corners / 4) / step)
    return residual, residual.transpose(0, 2, 1)


def _occurrences(residuals: Residual) -> Array:
    """Roots of how often three neighbours occur together; signs and directions count alike."""
    levels = 2 * REACH + 1
    total = np.zeros((levels,) * 3)
    for residual in residuals:
        place = np.clip(residual, -REACH, REACH) + REACH
        code = (place[..., :-2] * levels + place[..., 1:-1]) * levels + place[..., 2:]
        total += np.bincount(code.ravel(), minlength=levels**3).reshape(total.shape) / code.size / 2
    total = total + total[::-1, ::-1, ::-1]
    total = (total + total.transpose(2, 1, 0)) / 4
    return np.sqrt(total.ravel()[_distinct(levels)])


def _distinct(levels: int) -> list[int]:
    """One place of each set of triples that are the same but for sign and direction."""
    last = levels - 1
    triples = list(np.ndindex(levels, levels, levels))
    alike = [
        min((a, b, c), (c, b, a), (last - a, last - b, last - c), (last - c, last - b, last - a)) for a, b, c in triples
    ]
    return [number for number, triple in enumerate(triples) if alike[number] == triple]


def _spectrum(values: Array, cells: int) -> Array:
    """The logarithm of the power in cells × cells bands of frequencies, the turned picture's counted alike."""
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    power = np.abs(np.fft.rfft2((values - values.mean((1, 2), keepdims=True)) * window)) ** 2
    half = SIDE // 2
    log = np.log(power + 10).mean(axis=0)[:, :half]
    both = (log[1 : half + 1] + log[: -half - 1 : -1]) / 2
    bands = both.reshape(cells, half // cells, cells, half // cells).mean((1, 3))
    kept = ((bands + bands.T) / 2)[np.triu_indices(cells)]
    return np.asarray((kept - kept.mean()) * 0.3)
