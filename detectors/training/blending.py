"""Blends of aligned face crops: what a swapped face leaves behind, made without swapping anybody.

A self-blended image puts a slightly changed copy of a face onto the same face, through a soft mask (Shiohara and
Yamasaki, CVPR 2022, "Detecting Deepfakes with Self-Blended Images"; written from the paper's idea). Only the traces of
blending differ between the two, so a detector cannot learn who is shown, nor the habits of one swapping program.

Every random choice is in a `Blend`, drawn from a generator and applied by `blend`: the same record makes the same
pixels. Crops are RGB uint8 (112, 112, 3), aligned to `detectors.faces.FIVE_POINTS`.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.faces import FIVE_POINTS, TEMPLATE_SIDE
from detectors.image import Pixels

Mask = NDArray[np.float32]
Shape = Literal["hull", "ellipse", "eyes", "lower"]
Texture = Literal["none", "blur", "rescale", "sharpen", "jpeg", "smooth", "grain"]

SHAPES: tuple[Shape, ...] = ("hull", "hull", "ellipse", "ellipse", "eyes", "lower")
NO_COLOURS = (1.0, 0.0, 1.0, 0.0, 0.0, 0.0)
TEXTURES: tuple[Texture, ...] = ("none", "blur", "rescale", "rescale", "sharpen", "jpeg", "smooth", "grain")

EYES, NOSE, MOUTH = FIVE_POINTS[:2].mean(axis=0), FIVE_POINTS[2], FIVE_POINTS[3:].mean(axis=0)
OUTLINE = np.array(
    [[19, 48], [22, 36], [36, 24], [56, 20], [76, 24], [90, 36], [93, 48], [91, 72], [83, 94], [70, 107], [56, 110],
     [42, 107], [29, 94], [21, 72]], dtype=np.float32,
)  # fmt: skip
"""About where brow, cheeks and chin of an upright face stand in an aligned crop."""


@dataclass(frozen=True)
class Blend:
    """One blend's parameters. Lengths are pixels of the 112 px crop.

    shape: of the mask before it is deformed; points: offsets (14, 2) of its outline; elastic: size of the deformation;
    feather: standard deviation of the mask's blur; opacity: share of the source within the mask, in (0, 1].
    scale, shift: of the source about the crop's middle. colours: factors of contrast, brightness offset, saturation,
    offsets of red, green, blue. texture, strength: what is done to the fineness, strength in [0, 1].
    on_source: whether colours and texture change the pasted face, or else the picture it is pasted on.
    seed: of the elastic field and the grain.
    """

    shape: Shape
    points: tuple[tuple[float, float], ...]
    elastic: float
    feather: float
    opacity: float
    scale: float
    shift: tuple[float, float]
    colours: tuple[float, float, float, float, float, float]
    texture: Texture
    strength: float
    on_source: bool
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """The parameters as JSON values, for a data set's record."""
        return asdict(self)


def draw(rng: np.random.Generator) -> Blend:
    """Random parameters, as wide as blending programs and their users are."""
    gentle = float(rng.choice([0.3, 1.0, 1.0]))
    return Blend(
        shape=SHAPES[int(rng.integers(len(SHAPES)))],
        points=tuple((float(x), float(y)) for x, y in rng.normal(0, 3.0, (len(OUTLINE), 2))),
        elastic=float(rng.uniform(0, 7)),
        feather=float(rng.choice([rng.uniform(0.5, 2), rng.uniform(1, 5), rng.uniform(3, 9)])),
        opacity=float(rng.choice([0.5, 0.75, 1, 1, 1, 1])),
        scale=float(rng.uniform(0.94, 1.07)),
        shift=(float(rng.uniform(-3.5, 3.5)), float(rng.uniform(-3.5, 3.5))),
        colours=(
            float(np.exp(rng.normal(0, 0.12 * gentle))),
            float(rng.normal(0, 10 * gentle)),
            float(np.exp(rng.normal(0, 0.15 * gentle))),
            float(rng.normal(0, 6 * gentle)),
            float(rng.normal(0, 6 * gentle)),
            float(rng.normal(0, 6 * gentle)),
        ),
        texture=TEXTURES[int(rng.integers(len(TEXTURES)))],
        strength=float(rng.uniform(0, 1)),
        on_source=bool(rng.random() < 0.6),
        seed=int(rng.integers(2**31)),
    )


def draw_texture(rng: np.random.Generator) -> Blend:
    """Random parameters that change the fineness alone: neither colours nor place give the blend away."""
    texture = TEXTURES[int(rng.integers(1, len(TEXTURES)))]
    still = replace(draw(rng), colours=NO_COLOURS, scale=1.0, shift=(0.0, 0.0), opacity=1.0, on_source=True)
    return replace(still, texture=texture)


def draw_seam(rng: np.random.Generator) -> Blend:
    """Random parameters of a nearly hard edge with no change of colours: for a source that has the target's tones."""
    feather = float(rng.uniform(0.4, 2.5))
    still = replace(draw(rng), colours=NO_COLOURS, feather=feather, opacity=1.0, on_source=True)
    return still if rng.random() < 0.5 else replace(still, texture="none")


def in_tones_of(source: Pixels, target: Pixels, spread: float) -> Pixels:
    """`source`'s detail on `target`'s tones: what a Gaussian of `spread` pixels keeps comes from the target.

    The idea of multi-band blending (Burt and Adelson 1983) with two bands.
    """
    tones = cv2.GaussianBlur(target.astype(np.float32) - source.astype(np.float32), (0, 0), spread)
    return np.asarray(np.clip(np.rint(source + tones), 0, 255), dtype=np.uint8)


def blend(target: Pixels, source: Pixels, parameters: Blend) -> tuple[Pixels, Mask]:
    """`source`'s face on `target`, and the mask it came through: float32 (112, 112) in [0, 1].

    Give the same crop twice for a self-blended image. Raises ValueError for crops of another shape.
    """
    for crop in (target, source):
        if crop.shape != (TEMPLATE_SIDE, TEMPLATE_SIDE, 3) or crop.dtype != np.uint8:
            raise ValueError(f"A crop is {crop.dtype} {crop.shape}; uint8 (112, 112, 3) is needed: use `faces.align`.")
    if parameters.on_source:
        source = altered(source, parameters)
    else:
        target = altered(target, parameters)
    matrix = np.array([[parameters.scale, 0, 0], [0, parameters.scale, 0]], dtype=np.float64)
    middle = TEMPLATE_SIDE / 2
    matrix[:, 2] = middle * (1 - parameters.scale) + np.array(parameters.shift)
    moved = cv2.warpAffine(source, matrix, target.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = face_mask(parameters) * np.float32(parameters.opacity)
    mixed = mask[:, :, None] * moved + (1 - mask[:, :, None]) * target
    return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8), mask


def face_mask(parameters: Blend) -> Mask:
    """The soft mask of a blend: 1 where the source alone shows, float32 (112, 112)."""
    outline = OUTLINE + np.array(parameters.points, dtype=np.float32)
    mask = np.zeros((TEMPLATE_SIDE, TEMPLATE_SIDE), dtype=np.float32)
    if parameters.shape == "ellipse":
        wide, high = float(np.ptp(outline[:, 0])) / 2, float(np.ptp(outline[:, 1])) / 2
        centre = tuple(round(float(value)) for value in outline.mean(axis=0))
        cv2.ellipse(mask, centre, (round(wide), round(high)), parameters.points[0][0] * 3, 0, 360, 1.0, -1)
    else:
        cv2.fillConvexPoly(mask, np.rint(cv2.convexHull(outline)).astype(np.int32), 1.0)
    if parameters.shape == "eyes":
        mask[round(float(NOSE[1] + parameters.points[1][1])) :] = 0
    elif parameters.shape == "lower":
        mask[: round(float((EYES[1] + NOSE[1]) / 2 + parameters.points[2][1]))] = 0
    mask = _deformed(mask, parameters)
    soft = cv2.GaussianBlur(mask, (0, 0), parameters.feather)
    return np.asarray(np.clip(soft, 0, 1), dtype=np.float32)


def _deformed(mask: Mask, parameters: Blend) -> Mask:
    """Elastic deformation: every point moves by a smooth random field of at most `elastic` pixels or so."""
    rng = np.random.default_rng(parameters.seed)
    coarse = rng.normal(0, parameters.elastic / 2, (2, 7, 7)).astype(np.float32)
    columns, rows = np.meshgrid(np.arange(TEMPLATE_SIDE, dtype=np.float32), np.arange(TEMPLATE_SIDE, dtype=np.float32))
    across, down = (cv2.resize(part, mask.shape, interpolation=cv2.INTER_CUBIC) for part in coarse)
    return np.asarray(cv2.remap(mask, columns + across, rows + down, cv2.INTER_LINEAR), dtype=np.float32)


def altered(crop: Pixels, parameters: Blend) -> Pixels:
    """The crop in other colours and another fineness: another camera, another light, another codec."""
    contrast, brightness, saturation, *offsets = parameters.colours
    matrix = np.full((3, 4), contrast * (1 - saturation) / 3)
    matrix[:, :3] += np.eye(3) * contrast * saturation
    matrix[:, 3] = contrast * (np.array(offsets) - 128) + 128 + contrast * brightness
    return _textured(np.asarray(cv2.transform(crop, matrix), dtype=np.uint8), parameters)


def _textured(crop: Pixels, parameters: Blend) -> Pixels:  # noqa: PLR0911 - one line for each kind
    strength, side = parameters.strength, TEMPLATE_SIDE
    match parameters.texture:
        case "none":
            return crop
        case "blur":
            return np.asarray(cv2.GaussianBlur(crop, (0, 0), 0.4 + strength), dtype=np.uint8)
        case "rescale":
            small = round(side / (1.1 + 1.6 * strength))
            method = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[parameters.seed % 3]
            reduced = cv2.resize(crop, (small, small), interpolation=method)
            back = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[parameters.seed % 2]
            return np.asarray(cv2.resize(reduced, (side, side), interpolation=back), dtype=np.uint8)
        case "sharpen":
            soft = cv2.GaussianBlur(crop, (0, 0), 1.0)
            amount = 0.3 + strength
            return np.asarray(cv2.addWeighted(crop, 1 + amount, soft, -amount, 0), dtype=np.uint8)
        case "jpeg":
            return saved_as_jpeg(crop, round(90 - 55 * strength))
        case "smooth":
            spread = 12 + 35 * strength
            return np.asarray(cv2.bilateralFilter(crop, 5, spread, 2.0), dtype=np.uint8)
        case "grain":
            noise = np.random.default_rng(parameters.seed).normal(0, 2 + 6 * strength, crop.shape)
            return np.asarray(np.clip(crop + noise, 0, 255), dtype=np.uint8)


def saved_as_jpeg(crop: Pixels, quality: int) -> Pixels:
    """The crop after one JPEG encoding and decoding, quality in [1, 100]."""
    _, data = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])
