"""Real faces from ordinary photographs, to train `swap` on more people than a folder of portraits holds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detectors.faces import FacesDetector
from detectors.image import Frame, Image
from detectors.likeness_scores import resolution
from detectors.runtime import Runtime
from detectors.swap import LEAST_RESOLUTION, sharpness
from detectors.training.data import Example, decode, read_manifest
from detectors.training.swap_data import FaceCrop

PHOTOGRAPHS = "photo"
"""The `family` of real rows that are photographs: drawings and scans have faces too."""

LEAST_CONFIDENCE = 0.8


def faces_of(manifests: Sequence[Path], runtime: Runtime, least_sharpness: float) -> list[FaceCrop]:
    """The faces of the manifests' real photographs that are large and sharp enough to be judged, aligned.

    Nobody says who is shown, so all faces of one file count as one person. Raises DataError and ModelError.
    """
    detector = FacesDetector(runtime)
    rows = [example for manifest in manifests for example in read_manifest(manifest)]
    photographs = [example for example in rows if not example.generated and example.family == PHOTOGRAPHS]
    return [face for example in photographs for face in _faces(example, detector, least_sharpness)]


def _faces(example: Example, detector: FacesDetector, least_sharpness: float) -> Iterator[FaceCrop]:
    pixels = np.ascontiguousarray(np.asarray(decode(example.path)))
    image = Image(b"", "PNG", pixels.shape[1], pixels.shape[0], (Frame(0, pixels),))
    detector.detect([image])
    for number, face in enumerate(image.features["faces"][0]):
        sharp = sharpness(face.aligned) >= least_sharpness
        if face.score >= LEAST_CONFIDENCE and resolution(face) >= LEAST_RESOLUTION and sharp:
            yield FaceCrop(face.aligned, example.file, f"{example.file}#{number}")
