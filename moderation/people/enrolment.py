"""Which photos may be enrolled: one face, large, sharp, turned to the camera, well lit, and of the same person."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.faces import Face, FacesDetector
from detectors.image import Image
from detectors.likeness_scores import LikenessCalibration, Templates

LEAST_PIXELS = 60
LEAST_SHARPNESS = 25.0
MOST_TURN = 0.45
LIGHT = (40.0, 220.0)
DOMINANT = 4.0
LEAST_AGREEMENT = 0.19
"""Median similarity of a photo to the person's others: 1 in 100 photos of the person is below, of other people above."""

FACE = (slice(20, 104), slice(20, 92))
"""Rows and columns of an aligned crop that show the face itself."""


@dataclass(frozen=True)
class Quality:
    """What was measured of a photo's face.

    pixels: shorter side of the box. sharpness: variance of the Laplacian on the aligned crop. turn: how far the nose is
    from the middle of eyes and mouth, in distances from eyes to mouth: about 0.4 where the far cheek is hidden.
    light: mean grey, 0 to 255.
    """

    pixels: int
    sharpness: float
    turn: float
    light: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Refusal:
    """Why a photo is not enrolled: `code` for programs, `reason` for people."""

    code: str
    reason: str


def measure(face: Face) -> Quality:
    right, left, nose, *mouth = face.landmarks.astype(np.float64)
    eyes, lips = (right + left) / 2, (mouth[0] + mouth[1]) / 2
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    turn = abs(float((nose - (eyes + lips) / 2) @ across)) / max(float(np.linalg.norm(lips - eyes)), 1e-6)
    grey = cv2.cvtColor(face.aligned, cv2.COLOR_RGB2GRAY)[FACE]
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    return Quality(int(min(face.box[2:])), sharpness, turn, float(grey.mean()))


def find_face(detector: FacesDetector, image: Image) -> Face | Refusal:
    """The one face of a photo, or why there is none: smaller faces in the background are passed over."""
    if image.frame_count > 1:
        return Refusal("animated", f"The photo has {image.frame_count} frames. Send a still picture.")
    faces = sorted(detector.find(image.frames[0]), key=_area, reverse=True)
    if not faces:
        return Refusal("no_face", "No face is found in the photo. Send one that shows the whole face from the front.")
    rivals = [face for face in faces[1:] if _area(face) * DOMINANT > _area(faces[0])]
    if rivals:
        return Refusal(
            "several_faces",
            f"The photo shows {len(rivals) + 1} faces of similar size. Cut it so that only the person's is left.",
        )
    return faces[0]


def _area(face: Face) -> float:
    return float(face.box[2] * face.box[3])


def judge(quality: Quality) -> Refusal | None:
    """Why a face may not be enrolled, None when it may."""
    if quality.pixels < LEAST_PIXELS:
        return Refusal("too_small", f"The face is {quality.pixels} px wide; {LEAST_PIXELS} are needed.")
    if quality.turn > MOST_TURN:
        return Refusal(
            "turned_away",
            f"The head is turned too far ({quality.turn:.2f}, at most {MOST_TURN}). Send a frontal photo.",
        )
    if not LIGHT[0] <= quality.light <= LIGHT[1]:
        what = "dark" if quality.light < LIGHT[0] else "bright"
        return Refusal(
            f"too_{what}",
            f"The face is too {what} (mean {quality.light:.0f}, {LIGHT[0]:.0f} to {LIGHT[1]:.0f} is needed).",
        )
    if quality.sharpness < LEAST_SHARPNESS:
        return Refusal(
            "blurred",
            f"The face is blurred (sharpness {quality.sharpness:.0f}, at least {LEAST_SHARPNESS:.0f} is needed).",
        )
    return None


def outliers(templates: Templates, known: Templates, calibration: LikenessCalibration) -> list[int]:
    """Rows of new templates (n, 128) that do not agree with the others and those known of the person (m, 128).

    The worst is taken out first, so that one wrong photo does not condemn the right ones. Of two photos that disagree,
    with nothing known, both are outliers: there is no telling which is the person's.
    """
    new, own = calibration.centred(templates), calibration.centred(known)
    kept, out = list(range(len(new))), list[int]()
    while len(kept) + len(own) > 1 and kept:
        agreement = _agreement(new[kept], own)
        worst = int(np.argmin(agreement))
        if agreement[worst] >= LEAST_AGREEMENT:
            break
        out.append(kept.pop(worst))
        if len(kept) == 1 and not len(own):
            return sorted([*out, *kept])
    return sorted(out)


def _agreement(new: Templates, own: Templates) -> NDArray[np.float64]:
    """Median cosine of each new template to all others."""
    every = np.concatenate([new, own])
    cosines = np.asarray(new @ every.T, dtype=np.float64)
    rows: Sequence[NDArray[np.float64]] = [np.delete(row, place) for place, row in enumerate(cosines)]
    return np.array([np.median(row) for row in rows])
