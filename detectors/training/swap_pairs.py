"""What the `swap` network learns from: real crops, each with a blend of it that went through all the same alterations."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.faces import TEMPLATE_SIDE
from detectors.image import Pixels
from detectors.training.blending import (
    Mask,
    altered,
    blend,
    draw,
    draw_seam,
    draw_texture,
    face_mask,
    in_bands,
    in_tones_of,
)
from detectors.training.swap_data import FaceCrop, launder, network_input

OTHER_PERSON = 0.3
"""Share of the self-blends that paste another person's face instead, in the target's colours."""

TURNED_LAST = 0.5
"""Share of the pairs that are turned after the blend, as a swapped picture is when its face is aligned."""

Turn = NDArray[np.float64] | None


class Pool:
    """Crops to draw from: faces, and pieces of photographs (`grounds`) that show no face in particular."""

    def __init__(self, crops: Sequence[FaceCrop]) -> None:
        self.faces = [crop for crop in crops if crop.use != "ground"]
        self.grounds = [crop for crop in crops if crop.use == "ground"]
        self.mates: dict[str, list[FaceCrop]] = {}
        for crop in self.grounds:
            self.mates.setdefault(crop.person, []).append(crop)

    def drawn(self, rng: np.random.Generator, grounds: float) -> FaceCrop:
        """A crop at random: a piece of a photograph with the chance `grounds`."""
        crops = self.grounds if rng.random() < grounds else self.faces
        return crops[int(rng.integers(len(crops)))]

    def partner(self, crop: FaceCrop, rng: np.random.Generator) -> Pixels:
        """What may be pasted on a crop: any face on a face, a piece of the same photograph on a piece."""
        others = self.mates[crop.person] if crop.use == "ground" else self.faces
        return mirrored(others[int(rng.integers(len(others)))].pixels, rng)


@dataclass(frozen=True)
class Batch:
    """Crops float32 (2n, 3, 112, 112) in [0, 1], the second half blends of the first; masks float32 (2n, 112, 112)."""

    crops: NDArray[np.float32]
    masks: NDArray[np.float32]


def batch(pool: Pool, size: int, seed: Sequence[int], *, hard: bool = False, grounds: float = 0.0) -> Batch:
    """`size` real crops and a blend of each, which passed through the same alterations. Deterministic in `seed`.

    hard: most blends leave few traces: two people's faces in the same tones, or another fineness alone.
    grounds: share of pieces of photographs.
    """
    rng = np.random.default_rng(seed)
    real, fake, masks = zip(*(pair(pool, pool.drawn(rng, grounds), rng, hard=hard) for _ in range(size)), strict=True)
    return Batch(network_input([*real, *fake]), np.concatenate([np.zeros((size, *masks[0].shape), np.float32), masks]))


def pair(pool: Pool, crop: FaceCrop, rng: np.random.Generator, *, hard: bool) -> tuple[Pixels, Pixels, Mask]:
    """A real crop and a blend of it; turned, coloured, resampled and saved by the same random choices.

    Both are turned before the blend, which then joins two histories of resampling, or after it, when the edge is
    resampled as all else.
    """
    last, turn, base = rng.random() < TURNED_LAST, drawn_turn(rng), mirrored(crop.pixels, rng)
    if not last:
        base = turned(base, turn)
    if rng.random() < 0.5:
        base = altered(base, draw(rng))
    other = pool.partner(crop, rng)
    if not last or rng.random() < 0.3:
        other = turned(other, drawn_turn(rng))
    blended, mask = (hard_blend if hard else self_blend)(base, other, rng)
    if last:
        base, blended, mask = turned(base, turn), turned(blended, turn), turned_mask(mask, turn)
    scale, quality = float(rng.uniform(0.55, 1.0)), int(rng.integers(60, 98))
    resized, saved = rng.random() < 0.5, rng.random() < 0.75
    scale, quality = scale if resized else 1.0, quality if saved else 0
    return launder(base, scale, quality), launder(blended, scale, quality), mask


def self_blend(base: Pixels, other: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A crop on itself, or in `OTHER_PERSON` of the cases another in its colours on it."""
    source = in_colours_of(other, base) if rng.random() < OTHER_PERSON else base
    return blend(base, source, draw(rng))


def hard_blend(base: Pixels, other: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Of twenty: three as in `self_blend`, four that change the fineness only, and thirteen of two crops in one tone.

    Half of those are put together band by band, half are the other's detail on the crop's own tones.
    """
    chosen = rng.random()
    if chosen < 0.15:
        return self_blend(base, other, rng)
    if chosen < 0.35:
        return blend(base, base, draw_texture(rng))
    if chosen < 0.675:
        return blend(base, in_tones_of(other, base, float(rng.uniform(4, 16))), draw_seam(rng))
    return banded(base, other, rng)


def banded(base: Pixels, other: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Another crop's face through a nearly hard mask, each band of fineness over a width of its own."""
    parameters = draw_seam(rng)
    other = altered(other, parameters) if parameters.on_source else other
    if rng.random() < 0.7:
        other = in_colours_of(other, base)
    mask = face_mask(parameters)
    return in_bands(base, other, mask, int(rng.integers(2, 6))), mask


def mirrored(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop or, as often, its mirror image."""
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def drawn_turn(rng: np.random.Generator) -> Turn:
    """A small turn, scaling and move, as landmarks are never exact; in three of ten cases none."""
    if rng.random() < 0.3:
        return None
    middle = TEMPLATE_SIDE / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), float(rng.uniform(-12, 12)), float(rng.uniform(0.92, 1.25)))
    matrix[:, 2] += rng.uniform(-5, 5, 2)
    return np.asarray(matrix, dtype=np.float64)


def turned(crop: Pixels, turn: Turn) -> Pixels:
    if turn is None:
        return crop
    moved = cv2.warpAffine(crop, turn, crop.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, dtype=np.uint8)


def turned_mask(mask: Mask, turn: Turn) -> Mask:
    if turn is None:
        return mask
    return np.asarray(cv2.warpAffine(mask, turn, mask.shape[1::-1], borderMode=cv2.BORDER_REFLECT), dtype=np.float32)


def in_colours_of(crop: Pixels, model: Pixels) -> Pixels:
    """The crop with the mean and spread of another's channels (Reinhard et al. 2001, in RGB)."""
    values, wanted = crop.astype(np.float32), model.astype(np.float32)
    spread = wanted.std(axis=(0, 1)) / np.maximum(values.std(axis=(0, 1)), 1.0)
    moved = (values - values.mean(axis=(0, 1))) * np.clip(spread, 0.4, 2.5) + wanted.mean(axis=(0, 1))
    return np.asarray(np.clip(moved, 0, 255), dtype=np.uint8)
