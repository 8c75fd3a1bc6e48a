"""Face crops to train and test the `swap` detector on: read, checked, split by person, laundered alike."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pdqhash
from numpy.typing import NDArray

from detectors.faces import FIVE_POINTS, TEMPLATE_SIDE
from detectors.image import Pixels
from detectors.training.blending import (
    Mask,
    altered,
    blend,
    draw,
    draw_seam,
    draw_texture,
    in_tones_of,
    saved_as_jpeg,
)
from detectors.training.errors import TrainingError

SAME_PICTURE = 31
"""PDQ distance, of 256 bits, at which two crops are one picture."""

OTHER_PERSON = 0.3
"""Share of the blends in training that paste another person's face, in the target's colours."""


Use = Literal["portrait", "photo", "made"]


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face without a blend: RGB uint8 (112, 112, 3), aligned. `person` is the identity it is split by.

    use: "portrait" is of a known person, "photo" was found in a photograph, "made" in a generated, rendered or scanned
    picture. The last are learnt from only, the others are tested on as well.
    """

    pixels: Pixels
    person: str
    name: str
    use: Use = "portrait"


def read_faces(folder: Path) -> list[FaceCrop]:
    """The crops of `folder/<person>/*.png`, in order of name, copies of one picture dropped.

    Raises TrainingError for a missing folder, an unreadable or wrongly sized file, or fewer than two people.
    """
    faces = [read_crop(path) for path in sorted(folder.glob("*/*")) if path.suffix in (".png", ".jpg", ".webp")]
    people = {face.person for face in faces}
    if len(people) < 2:
        raise TrainingError(
            f"{folder} has face crops of {len(people)} people; two are needed.",
            hint="Give a folder with one folder of aligned 112 × 112 crops for each person.",
        )
    return without_copies(faces)


def read_crop(path: Path) -> FaceCrop:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape != (TEMPLATE_SIDE, TEMPLATE_SIDE, 3):
        size = "not a readable picture" if pixels is None else f"{pixels.shape[1]} × {pixels.shape[0]}"
        raise TrainingError(f"{path} is {size}; an aligned crop has 112 × 112 pixels.", hint="Use `faces.align`.")
    return FaceCrop(np.ascontiguousarray(pixels[:, :, ::-1]), path.parent.name, f"{path.parent.name}/{path.name}")


def _bits(faces: Sequence[FaceCrop]) -> NDArray[np.int32]:
    """PDQ hashes as rows of ±1: the distance of two is (256 − product) / 2."""
    rows = [pdqhash.compute(face.pixels)[0] for face in faces]
    return np.asarray(rows, dtype=np.int32).reshape(-1, 256) * 2 - 1


def without_copies(faces: Sequence[FaceCrop]) -> list[FaceCrop]:
    """The crops less those that are one picture with an earlier one."""
    bits = _bits(faces)
    near = (256 - bits @ bits.T) // 2 <= SAME_PICTURE
    return [face for number, face in enumerate(faces) if not near[number, :number].any()]


def check_apart(train: Sequence[FaceCrop], held: Sequence[FaceCrop]) -> None:
    """Raises TrainingError where a person, or one picture, is on both sides of a split."""
    shared = sorted({face.person for face in train} & {face.person for face in held})
    if shared:
        raise TrainingError(
            f"{', '.join(shared)} would be both trained and tested on.", hint="Split by person, not by file."
        )
    near = (256 - _bits(train) @ _bits(held).T) // 2 <= SAME_PICTURE
    if near.any():
        first, second = np.argwhere(near)[0]
        raise TrainingError(
            f"{train[first].name} and {held[second].name} are one picture on both sides of the split.",
            hint="Put the two folders together, or take the copy away.",
        )


def folds(faces: Sequence[FaceCrop], number: int) -> list[tuple[list[FaceCrop], list[FaceCrop]]]:
    """(train, held) for each of `number` groups of people; every person is held out once."""
    people = sorted({face.person for face in faces})
    if not 2 <= number <= len(people):
        raise TrainingError(f"{len(people)} people cannot be split into {number} groups.", hint="Use 2 or more.")
    parts = []
    for start in range(number):
        held = set(people[start::number])
        parts.append(([f for f in faces if f.person not in held], [f for f in faces if f.person in held]))
        check_apart(*parts[-1])
    return parts


def digest(faces: Sequence[FaceCrop]) -> str:
    """SHA-256 over names and pixels: which data a model was made of."""
    running = hashlib.sha256()
    for face in faces:
        running.update(face.name.encode() + face.pixels.tobytes())
    return running.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Crops float32 (2n, 3, 112, 112) in [0, 1], the second half blends of the first; masks float32 (2n, 112, 112)."""

    crops: NDArray[np.float32]
    masks: NDArray[np.float32]


def batch(faces: Sequence[FaceCrop], size: int, seed: Sequence[int], *, hard: bool = False) -> Batch:
    """`size` real crops and a blend of each, which passed through the same alterations. Deterministic in `seed`.

    hard: most blends leave few traces: two people's faces in the same tones, or another fineness alone.
    """
    rng = np.random.default_rng(seed)
    real, fake, masks = [], [], []
    for number in rng.integers(len(faces), size=size):
        first, second, mask = pair(faces, int(number), rng, hard=hard)
        real.append(first)
        fake.append(second)
        masks.append(mask)
    return Batch(network_input([*real, *fake]), np.concatenate([np.zeros((size, *masks[0].shape), np.float32), masks]))


def pair(
    faces: Sequence[FaceCrop], number: int, rng: np.random.Generator, *, hard: bool
) -> tuple[Pixels, Pixels, Mask]:
    """A real crop and a blend of it; turned, coloured, resampled and saved by the same random choices."""
    base = jittered(faces[number].pixels, rng)
    if rng.random() < 0.5:
        base = altered(base, draw(rng))
    blended, mask = (hard_blend if hard else self_blend)(faces, base, rng)
    scale, quality = float(rng.uniform(0.55, 1.0)), int(rng.integers(60, 98))
    resized, saved = rng.random() < 0.5, rng.random() < 0.75
    scale, quality = scale if resized else 1.0, quality if saved else 0
    return launder(base, scale, quality), launder(blended, scale, quality), mask


def self_blend(faces: Sequence[FaceCrop], base: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A crop on itself, or in `OTHER_PERSON` of the cases someone's face in its colours on it."""
    source = base
    if rng.random() < OTHER_PERSON:
        other = faces[int(rng.integers(len(faces)))].pixels
        source = in_colours_of(jittered(other, rng), base)
    return blend(base, source, draw(rng))


def hard_blend(faces: Sequence[FaceCrop], base: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """Of twenty: seven as in `self_blend`, eight of someone's detail on its tones, five that change the fineness only."""
    chosen = rng.random()
    if chosen < 0.35:
        return self_blend(faces, base, rng)
    if chosen < 0.6:
        return blend(base, base, draw_texture(rng))
    other = jittered(faces[int(rng.integers(len(faces)))].pixels, rng)
    return blend(base, in_tones_of(other, base, float(rng.uniform(4, 16))), draw_seam(rng))


def jittered(crop: Pixels, rng: np.random.Generator) -> Pixels:
    """The crop mirrored or not, a little turned, scaled and moved, as landmarks are never exact."""
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    if rng.random() < 0.3:
        return crop
    middle = TEMPLATE_SIDE / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), float(rng.uniform(-6, 6)), float(rng.uniform(0.97, 1.15)))
    matrix[:, 2] += rng.uniform(-3, 3, 2)
    turned = cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, dtype=np.uint8)


def in_colours_of(crop: Pixels, model: Pixels) -> Pixels:
    """The crop with the mean and spread of another's channels (Reinhard et al. 2001, in RGB)."""
    values, wanted = crop.astype(np.float32), model.astype(np.float32)
    spread = wanted.std(axis=(0, 1)) / np.maximum(values.std(axis=(0, 1)), 1.0)
    moved = (values - values.mean(axis=(0, 1))) * np.clip(spread, 0.4, 2.5) + wanted.mean(axis=(0, 1))
    return np.asarray(np.clip(moved, 0, 255), dtype=np.uint8)


def launder(crop: Pixels, scale: float, quality: int) -> Pixels:
    """The crop reduced and enlarged again (scale < 1), then saved as JPEG (quality > 0)."""
    if scale < 1:
        small = max(8, round(TEMPLATE_SIDE * scale))
        crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(crop, (TEMPLATE_SIDE, TEMPLATE_SIDE), interpolation=cv2.INTER_CUBIC)
    return saved_as_jpeg(crop, quality) if quality else np.asarray(crop, dtype=np.uint8)


def network_input(crops: Sequence[Pixels]) -> NDArray[np.float32]:
    """Crops as the network takes them: float32 (n, 3, 112, 112) in [0, 1]."""
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def cloned(target: Pixels, source: Pixels) -> Pixels:
    """`source`'s face on `target` by Poisson blending (`cv2.seamlessClone`): the blender that training never sees.

    The mask is the hull of the five points, widened to the face.
    """
    middle = FIVE_POINTS.mean(axis=0)
    outline = cv2.convexHull(
        np.concatenate([middle + (FIVE_POINTS - middle) * 1.75, [[56, 32], [56, 106]]]).astype(np.int32)
    )
    mask = np.zeros((TEMPLATE_SIDE, TEMPLATE_SIDE), np.uint8)
    cv2.fillConvexPoly(mask, outline, 255)
    left, top, width, height = cv2.boundingRect(mask)
    centre = (left + width // 2, top + height // 2)
    return np.asarray(cv2.seamlessClone(source, target, mask, centre, cv2.NORMAL_CLONE), dtype=np.uint8)


def clones(faces: Sequence[FaceCrop], rng: np.random.Generator) -> Iterator[tuple[FaceCrop, Pixels]]:
    """For each face, itself and one swap onto it of another of these people's faces."""
    for face in faces:
        others = [other for other in faces if other.person != face.person]
        yield face, cloned(face.pixels, others[int(rng.integers(len(others)))].pixels)


def alike_clones(faces: Sequence[FaceCrop]) -> Iterator[tuple[FaceCrop, Pixels]]:
    """For each face, itself and a swap onto it of the other people's crop that is most alike in light and pose.

    Alike is what a blurred grey copy of the crop has in common with another.
    """
    grey = np.stack([_lights(face.pixels) for face in faces])
    for number, face in enumerate(faces):
        others = [other for other, one in enumerate(faces) if one.person != face.person]
        nearest = others[int(np.argmin(((grey[others] - grey[number]) ** 2).sum(axis=1)))]
        yield face, cloned(face.pixels, faces[nearest].pixels)


def _lights(crop: Pixels) -> NDArray[np.float64]:
    soft = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (0, 0), 3)[::8, ::8].astype(np.float64).ravel()
    return np.asarray((soft - soft.mean()) / max(soft.std(), 1e-6))
