"""Faces from ordinary pictures, to train `swap` on more than a folder of portraits holds.

Faces of photographs are real faces of more people, tested on too. Faces that are generated, rendered or scanned have no
seam either: they are trained on alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detectors.faces import FacesDetector
from detectors.image import Frame, Image, Pixels
from detectors.likeness_scores import resolution
from detectors.runtime import Runtime
from detectors.swap import LEAST_RESOLUTION, sharpness
from detectors.training.data import Example, decode, read_manifest
from detectors.training.swap_data import FaceCrop

PHOTOGRAPHS = "photo"
"""The `family` of real rows that are photographs."""

FACELESS = ("drawn", "figure", "graphic", "chart")
"""Families of real rows whose faces, if any, are no faces of people."""

LEAST_CONFIDENCE = 0.8


def faces_in(manifests: Sequence[Path], runtime: Runtime, least_sharpness: float, kept: Path) -> list[FaceCrop]:
    """The faces of all the manifests' pictures, in order; `kept` is a file that spares a second run the search.

    Nobody says who is shown, so all faces of one file count as one person. Raises DataError and ModelError.
    """
    made_of = f"{_digest(manifests)} {least_sharpness:.4f}"
    if kept.is_file():
        with np.load(kept) as stored:
            if str(stored["made_of"]) == made_of:
                return [FaceCrop(*crop) for crop in zip(stored["pixels"], *stored["rows"].T.tolist(), strict=True)]
    detector = FacesDetector(runtime)
    examples = [example for manifest in manifests for example in read_manifest(manifest)]
    crops = [crop for example in examples for crop in _faces(example, detector, least_sharpness)]
    if crops:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npz")
        rows = [(crop.person, crop.name, crop.use) for crop in crops]
        np.savez(part, pixels=np.stack([crop.pixels for crop in crops]), rows=np.array(rows), made_of=made_of)
        part.replace(kept)
    return crops


def _digest(manifests: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(manifest.read_bytes() for manifest in manifests)).hexdigest()


def _faces(example: Example, detector: FacesDetector, least_sharpness: float) -> Iterator[FaceCrop]:
    pixels = np.ascontiguousarray(np.asarray(decode(example.path)))
    photograph = example.family == PHOTOGRAPHS and not example.generated
    if example.family not in FACELESS:
        for number, crop in enumerate(faces_of(pixels, detector, least_sharpness)):
            yield FaceCrop(crop, example.file, f"{example.file}#{number}", "photo" if photograph else "made")


def faces_of(pixels: Pixels, detector: FacesDetector, least_sharpness: float) -> Iterator[Pixels]:
    """The faces of a picture that are sure, and large and sharp enough to be judged, aligned."""
    image = Image(b"", "PNG", pixels.shape[1], pixels.shape[0], (Frame(0, pixels),))
    detector.detect([image])
    for face in image.features["faces"][0]:
        sharp = sharpness(face.aligned) >= least_sharpness
        if face.score >= LEAST_CONFIDENCE and resolution(face) >= LEAST_RESOLUTION and sharp:
            yield face.aligned
