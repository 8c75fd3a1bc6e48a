"""Face swaps on aligned 112 px crops: self-blended images from one face, and two-person blending.

Self-blending follows the idea of Shiohara and Yamasaki (2022): source and target are two versions of the same face, so
that only the traces of blending tell real from fake. Everything drawn is recorded and makes the same image again.
Crops of 112 px carry no claim about swaps at full resolution.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from generator.errors import ModelError
from generator.modes.base import Made, Pixels

SIDE = 112
POINTS = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)], np.float32)
"""Eyes, nose and mouth corners of an aligned crop (the ArcFace template), x and y in pixels."""

Mask = npt.NDArray[np.float32]
Shape = Literal["hull", "ellipse", "lower"]
Blend = Literal["alpha", "poisson"]


@dataclass(frozen=True)
class Parameters:
    """All that was drawn for one swap; with the pictures it makes the same image again.

    warp: pixels of elastic displacement of the mask; feather: pixels of blur at its edge; opacity in (0, 1];
    gain, shift: on each channel of the inner face; sharpen: share of an unsharp mask, negative blurs; scale, dx, dy: of
    the inner face about its middle, pixels; inner: whether the inner (else the outer) face is the one transformed.
    """

    shape: Shape
    blend: Blend
    warp: float
    feather: float
    opacity: float
    gain: tuple[float, float, float]
    shift: tuple[float, float, float]
    sharpen: float
    scale: float
    dx: float
    dy: float
    inner: bool
    match_colour: bool
    seed: int


def drawn(seed: int, *, two_people: bool) -> Parameters:
    """Parameters from a seed. Two-person swaps move colours to the target and are not transformed."""
    rng = np.random.default_rng((seed, 11))
    spread = 0.0 if two_people else 1.0
    return Parameters(
        shape=("hull", "ellipse", "lower")[int(rng.integers(2 if two_people else 3))],
        blend="poisson" if rng.random() < (0.5 if two_people else 0.2) else "alpha",
        warp=float(rng.uniform(1, 5)),
        feather=float(rng.uniform(1.0, 5)),
        opacity=float(rng.choice([0.75, 1.0, 1.0, 1.0])),
        gain=_three(1 + spread * rng.normal(0, 0.06, 3)),
        shift=_three(spread * rng.normal(0, 7, 3)),
        sharpen=float(spread * rng.uniform(-1, 1)),
        scale=float(1 + spread * rng.uniform(-0.04, 0.04)),
        dx=float(spread * rng.uniform(-2, 2)),
        dy=float(spread * rng.uniform(-2, 2)),
        inner=bool(rng.random() < 0.5),
        match_colour=two_people,
        seed=seed,
    )


def _three(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def self_blended(face: PIL.Image.Image, seed: int, *, parent: str = "") -> Made:
    """A face blended with a changed version of itself."""
    pixels, parameters = _aligned(face), drawn(seed, two_people=False)
    changed = _transformed(pixels, parameters)
    source, target = (changed, pixels) if parameters.inner else (pixels, changed)
    return _blended(source, target, parameters, "self_blended", parent)


def swapped(source: PIL.Image.Image, target: PIL.Image.Image, seed: int, *, parent: str = "") -> Made:
    """The source's face put into the target's picture, colours moved to the target's. `parent` names the target."""
    parameters = drawn(seed, two_people=True)
    return _blended(_aligned(source), _aligned(target), parameters, "face_swap", parent)


def _aligned(face: PIL.Image.Image) -> Pixels:
    if face.size != (SIDE, SIDE):
        raise ModelError(
            f"a face crop of {face.width}×{face.height} cannot be swapped",
            hint=f"align it to the five points first: crops are {SIDE}×{SIDE}",
        )
    return np.asarray(face.convert("RGB"))


def _blended(source: Pixels, target: Pixels, parameters: Parameters, label: str, parent: str) -> Made:
    mask = face_mask(parameters)
    if parameters.match_colour:
        source = match_colour(source, target, mask)
    image = poisson(source, target, mask) if parameters.blend == "poisson" else alpha(source, target, mask)
    changed = PIL.Image.fromarray((mask * 255).round().astype(np.uint8))
    return Made(PIL.Image.fromarray(image), label, changed, asdict(parameters), parent)


def face_mask(parameters: Parameters) -> Mask:
    """Opacity of the inner face in [0, 1], (SIDE, SIDE): drawn from the five points, deformed, feathered."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    rng = np.random.default_rng((parameters.seed, 12))
    middle = POINTS.mean(axis=0)
    if parameters.shape == "ellipse":
        centre = (float(middle[0]), float(middle[1]))
        cv2.ellipse(mask, (centre, (62 + rng.uniform(-6, 10), 84 + rng.uniform(-8, 12)), 0.0), 1.0, -1, cv2.LINE_AA)
    else:
        outline = _outline(rng, lower=parameters.shape == "lower")
        cv2.fillConvexPoly(mask, cv2.convexHull(outline).astype(np.int32), 1.0, cv2.LINE_AA)
    mask = _elastic(mask, parameters.warp, rng)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=max(1, round(parameters.feather / 2)))
    feathered = cv2.GaussianBlur(inner, (0, 0), parameters.feather)
    return np.asarray(np.clip(feathered, 0, 1) * parameters.opacity, np.float32)


def _outline(rng: np.random.Generator, *, lower: bool) -> npt.NDArray[np.float32]:
    """Points around brows, cheeks and chin (or nose, cheeks and chin), each moved a little."""
    left, right, nose, mouth_left, mouth_right = POINTS
    chin = (mouth_left + mouth_right) / 2 + (0, 14)
    jaw = [mouth_left + np.array((-9, 8)), mouth_right + np.array((9, 8)), chin]
    cheeks = [(left + mouth_left) / 2 - (14, 0), (right + mouth_right) / 2 + (14, 0)]
    top = (
        [nose - (0, 12)]
        if lower
        else [
            point + np.array(by)
            for point, by in ((left, (-12, -18)), (right, (12, -18)), (left, (-18, 0)), (right, (18, 0)))
        ]
    )
    points = np.array([*jaw, *cheeks, *top], np.float32)
    return np.asarray(points + rng.normal(0, 2, points.shape), np.float32)


def _elastic(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    field = rng.uniform(-1, 1, (2, 6, 6)).astype(np.float32) * strength
    moved = [cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for part in field]
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return np.asarray(cv2.remap(mask, columns + moved[0], rows + moved[1], cv2.INTER_LINEAR), np.float32)


def _transformed(face: Pixels, parameters: Parameters) -> Pixels:
    """Colour, frequency and place changed as the parameters say."""
    pixels = face.astype(np.float32) * np.array(parameters.gain, np.float32) + np.array(parameters.shift, np.float32)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.2)
    pixels = pixels + (pixels - smooth) * np.float32(parameters.sharpen)
    centre = (SIDE / 2, SIDE / 2)
    matrix = cv2.getRotationMatrix2D(centre, 0, parameters.scale)
    matrix[:, 2] += (parameters.dx, parameters.dy)
    pixels = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(pixels, 0, 255).round(), np.uint8)


def match_colour(source: Pixels, target: Pixels, mask: Mask) -> Pixels:
    """The source with the target's mean and spread in each Lab channel, measured inside the mask (Reinhard, 2001)."""
    inside = mask > 0.5
    if not inside.any():
        return source
    ours = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    theirs = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)
    ratio = theirs[inside].std(axis=0) / np.maximum(ours[inside].std(axis=0), 1.0)
    moved = (ours - ours[inside].mean(axis=0)) * np.clip(ratio, 0.5, 2.0) + theirs[inside].mean(axis=0)
    return np.asarray(cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def alpha(source: Pixels, target: Pixels, mask: Mask) -> Pixels:
    share = mask[..., None]
    return (source * share + target * (1 - share)).round().clip(0, 255).astype(np.uint8)


def poisson(source: Pixels, target: Pixels, mask: Mask) -> Pixels:
    """`cv2.seamlessClone` of the masked source at its own place; mixed with the target by the mask's opacity."""
    region = (mask > 0.3).astype(np.uint8) * 255
    region[[0, -1], :] = region[:, [0, -1]] = 0
    x, y, width, height = cv2.boundingRect(region)
    centre = (x + width // 2, y + height // 2)
    cloned = np.asarray(cv2.seamlessClone(source, target, region, centre, cv2.NORMAL_CLONE), np.uint8)
    reach = np.maximum(mask, (region > 0) * np.float32(mask.max()))
    return alpha(cloned, target, reach)
