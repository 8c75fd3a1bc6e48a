"""What the likeness bench measures: faces of eleven people, renderings of them, and faces of strangers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.faces import FacesDetector, FaceTemplates
from detectors.image import Frame, Pixels
from detectors.likeness_scores import unit
from detectors.runtime import Runtime

Templates = NDArray[np.float32]
Render = Callable[[Pixels], Pixels]

LEVELS = (14, 20, 28, 40, 56)
"""Sides in pixels, of 112, that faces are shrunk to before they are enlarged again."""


@dataclass(frozen=True)
class Features:
    """Templates by person and photo, (people, photos, 128) unit length: `plain` SFace, and `mirrored` averages."""

    plain: Templates
    mirrored: Templates

    def of(self, people: Sequence[int]) -> "Features":
        return Features(self.plain[people], self.mirrored[people])


def people_crops(folder: Path) -> list[list[Pixels]]:
    """The aligned crops of each person."""
    return [
        [np.asarray(PIL.Image.open(path).convert("RGB")) for path in sorted(person.glob("*.png"))]
        for person in sorted(folder.iterdir())
    ]


def stranger_crops(runtime: Runtime, folder: Path, *, every: int = 1) -> list[Pixels]:
    """Faces that YuNet finds in photographs of nobody in particular (and a few animals and statues)."""
    detector = FacesDetector(runtime)
    paths = [path for source in ("imagenet", "bsds") for path in sorted((folder / source).iterdir())]
    frames = (Frame(0, np.asarray(PIL.Image.open(path).convert("RGB"))) for path in paths[::every])
    return [face.aligned for frame in frames for face in detector.find(frame)]


def features(runtime: Runtime, crops: Sequence[Sequence[Pixels]]) -> Features:
    """Templates of rectangular lists of crops."""
    faces = FaceTemplates(runtime)
    flat = [crop for row in crops for crop in row]
    shape = (len(crops), len(crops[0]), -1)
    plain = faces.of(flat)
    mirrored = unit(plain + faces.of([np.ascontiguousarray(crop[:, ::-1]) for crop in flat]))
    return Features(plain.reshape(shape), mirrored.reshape(shape))


def shrunk(side: int) -> Render:
    def render(crop: Pixels) -> Pixels:
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)

    return render


def low_rank(crop: Pixels) -> Pixels:
    """Each channel from its twelve strongest components."""
    left, strength, right = np.linalg.svd(crop.transpose(2, 0, 1).astype(np.float64), full_matrices=False)
    built = (left[:, :, :12] * strength[:, None, :12]) @ right[:, :12]
    return np.clip(built, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def hard_jpeg(crop: Pixels) -> Pixels:
    coded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 8])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[:, :, ::-1])


def posterised(crop: Pixels) -> Pixels:
    return (crop // 64 * 64 + 32).astype(np.uint8)


def recoloured(crop: Pixels) -> Pixels:
    """Another light: colours moved towards violet and strengthened."""
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float64)
    lab[:, :, 1:] = (lab[:, :, 1:] - lab[:, :, 1:].mean((0, 1))) * 1.2 + [150, 100]
    return np.asarray(cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def painted(method: Callable[[Pixels], Pixels]) -> Render:
    """OpenCV's non-photorealistic filters at twice the size, in its order of channels."""

    def render(crop: Pixels) -> Pixels:
        large = cv2.resize(crop[:, :, ::-1], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        small = cv2.resize(method(np.ascontiguousarray(large)), crop.shape[1::-1], interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[:, :, ::-1])

    return render


def cartoon(large: Pixels) -> Pixels:
    flat = large
    for _ in range(3):
        flat = cv2.bilateralFilter(flat, 9, 40, 9)
    grey = cv2.medianBlur(cv2.cvtColor(large, cv2.COLOR_BGR2GRAY), 5)
    edges = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 11, 5)
    return np.asarray(np.minimum(flat // 24 * 24 + 12, edges[:, :, None]), np.uint8)


RENDERINGS: Mapping[str, Render] = {
    "low rank": low_rank,
    "shrunk to 28": shrunk(28),
    "shrunk to 20": shrunk(20),
    "JPEG 8": hard_jpeg,
    "smoothed": painted(lambda c: cv2.edgePreservingFilter(c, flags=1, sigma_s=30, sigma_r=0.4)),
    "painted": painted(lambda c: cv2.stylization(c, sigma_s=30, sigma_r=0.45)),
    "coloured pencil": painted(lambda c: cv2.pencilSketch(c, sigma_s=40, sigma_r=0.1, shade_factor=0.04)[1]),
    "cartoon": painted(cartoon),
    "posterised": posterised,
    "recoloured": recoloured,
}
"""Five reconstructions, then five styles. Stand-ins: no generative model made them."""
