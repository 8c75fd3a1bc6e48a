"""Scenes drawn by code, for concepts that the labelled photographs cannot carry: sunsets, mountains, fruit.

Every scene is a function of a NumPy generator: RGB float32 in [0, 1], shape (size, size, 3), deterministic.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]
Scene = Callable[[np.random.Generator, int], Picture]


def _colour(rng: np.random.Generator, colour: tuple[float, float, float], spread: float = 0.07) -> Picture:
    return np.asarray(np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 1), np.float32)


def _gradient(top: Picture, bottom: Picture, size: int) -> Picture:
    share = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    return np.asarray(np.broadcast_to(top * (1 - share) + bottom * share, (size, size, 3)), np.float32)


def _noise(rng: np.random.Generator, size: int, cells: int) -> Picture:
    """Smooth noise in [0, 1], shape (size, size, 1)."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)[..., None], np.float32)


def _disc(size: int, x: float, y: float, radius: float) -> Picture:
    """Coverage of a disc in [0, 1], soft by a pixel; centre and radius as fractions of the size."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    distance = np.hypot(columns - x * size, rows - y * size)
    return np.asarray(np.clip(radius * size - distance + 0.5, 0, 1)[..., None], np.float32)


def sunset(rng: np.random.Generator, size: int) -> Picture:
    """The sun above a sea, with its path of light on the water."""
    horizon = rng.uniform(0.5, 0.65)
    x, y, radius = rng.uniform(0.3, 0.7), horizon - rng.uniform(0.03, 0.2), rng.uniform(0.08, 0.14)
    sky = _gradient(_colour(rng, (0.35, 0.2, 0.45)), _colour(rng, (1.0, 0.6, 0.25)), size)
    sky = sky + 0.15 * (_noise(rng, size, 5) - 0.5)
    sun = _disc(size, x, y, radius)
    sky = sky * (1 - sun) + sun * np.array([1.0, 0.93, 0.6], np.float32)
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    columns = np.linspace(0, 1, size, dtype=np.float32)[None, :, None]
    ripple = 0.5 + 0.5 * np.sin(rows * 130 + 8 * _noise(rng, size, 6))
    path = np.exp(-(((columns - x) / (0.06 + 0.25 * np.clip(rows - horizon, 0, 1))) ** 2)) * ripple
    sea = _colour(rng, (0.16, 0.14, 0.3)) * (0.75 + 0.4 * ripple) + path * np.array([0.85, 0.5, 0.2], np.float32)
    return np.asarray(np.clip(np.where(rows < horizon, sky, sea), 0, 1), np.float32)


def mountains(rng: np.random.Generator, size: int) -> Picture:
    """Two ridges, the far one with snow, above a green meadow under a blue sky."""
    picture = _gradient(_colour(rng, (0.35, 0.58, 0.9)), _colour(rng, (0.8, 0.9, 1.0)), size)
    picture = picture + 0.25 * np.clip(_noise(rng, size, 6) - 0.55, 0, 1)
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    for base, height, colour in ((0.62, 0.42, (0.45, 0.47, 0.55)), (0.75, 0.16, (0.2, 0.36, 0.25))):
        ridge = base - _ridge(rng, size, height)
        rock = _colour(rng, colour, 0.04) * (0.8 + 0.4 * _noise(rng, size, 16))
        snow = np.clip((0.4 - rows + 0.04 * _noise(rng, size, 12)[..., 0]) * 20, 0, 1)[..., None]
        rock = rock * (1 - snow) + snow * np.float32(0.95)
        picture = np.where((rows > ridge[None, :])[..., None], rock, picture)
    meadow = _colour(rng, (0.35, 0.6, 0.22), 0.05) * (0.85 + 0.3 * _noise(rng, size, 24))
    return np.clip(np.where((rows > 0.78)[..., None], meadow, picture), 0, 1).astype(np.float32)


def _ridge(rng: np.random.Generator, size: int, height: float) -> Picture:
    peaks = int(rng.integers(2, 4))
    across = np.linspace(0, 1, size, dtype=np.float32)
    centres = (np.arange(peaks) + rng.uniform(0.25, 0.75, peaks)) / peaks
    tops = rng.uniform(0.7, 1.0, peaks)
    slopes = [top - np.abs(across - centre) * rng.uniform(1.6, 2.6) for centre, top in zip(centres, tops, strict=True)]
    rough = cv2.resize(rng.random((1, 20), dtype=np.float32), (size, 1), interpolation=cv2.INTER_LINEAR)[0]
    return np.asarray(height * (np.maximum(np.max(slopes, axis=0), 0) + 0.08 * rough), np.float32)


def apple(rng: np.random.Generator, size: int) -> Picture:
    """A red or green apple with a stalk and a highlight on a plain ground."""
    picture = _gradient(_colour(rng, (0.88, 0.86, 0.82)), _colour(rng, (0.75, 0.7, 0.62)), size)
    x, y, radius = rng.uniform(0.44, 0.56), rng.uniform(0.52, 0.6), rng.uniform(0.24, 0.32)
    shadow = _disc(size, x, y + radius, radius * 0.7)
    picture = picture * (1 - 0.3 * cv2.GaussianBlur(shadow[..., 0], (0, 0), size / 20)[..., None])
    body = np.maximum(_disc(size, x - radius * 0.2, y, radius * 0.92), _disc(size, x + radius * 0.2, y, radius * 0.92))
    skin = _colour(rng, (0.78, 0.12, 0.12) if rng.random() < 0.6 else (0.5, 0.72, 0.2), 0.05)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    light = np.clip(1.15 - 1.6 * np.hypot(columns - (x - radius * 0.4), rows - (y - radius * 0.4)), 0.3, 1)[..., None]
    picture = picture * (1 - body) + body * skin * light
    shine = _disc(size, x - radius * 0.45, y - radius * 0.45, radius * 0.16)
    picture = np.ascontiguousarray(picture + 0.45 * shine, dtype=np.float32)
    top = (int(x * size), int((y - radius * 0.8) * size))
    end = (int((x + 0.05) * size), int((y - radius * 1.3) * size))
    cv2.line(picture, top, end, (0.3, 0.18, 0.08), max(1, size // 32), cv2.LINE_AA)
    return np.clip(picture, 0, 1)


SCENES: dict[str, Scene] = {"a sunset over the sea": sunset, "a mountain landscape": mountains, "an apple": apple}
"""Caption to scene."""
