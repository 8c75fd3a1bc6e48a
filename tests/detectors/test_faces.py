"""Faces and their templates."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.faces import FIVE_POINTS, FacesDetector, FaceTemplates, align
from detectors.image import Frame, Image
from detectors.runtime import Runtime
from tests.contract import DetectorContract
from tests.factories import make_image, picture


@pytest.fixture(scope="module")
def crops(shared_data: Path) -> dict[str, list[np.ndarray]]:
    """Four aligned face crops of each person."""
    return {
        folder.name: [np.asarray(Pillow.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))[:4]]
        for folder in sorted((shared_data / "faces").iterdir())
    }


def on_canvas(
    crop: np.ndarray, *, left: int, top: int, size: tuple[int, int] = (480, 640), side: int = 160
) -> np.ndarray:
    """A face crop within a larger grey picture."""
    canvas = np.full((*size, 3), 120, np.uint8)
    canvas[top : top + side, left : left + side] = np.asarray(Pillow.fromarray(crop).resize((side, side)))
    return canvas


class TestFaces(DetectorContract):
    detector_class = FacesDetector

    @pytest.fixture(autouse=True)
    def _people(self, request: pytest.FixtureRequest) -> None:
        if "examples" in request.node.name or "finding" in request.node.name or "batch" in request.node.name:
            self.people: Sequence[list[np.ndarray]] = list(request.getfixturevalue("crops").values())

    def examples(self) -> list[Image]:
        if not hasattr(self, "people"):
            return super().examples()
        return [make_image(on_canvas(crops[0], left=200, top=150)) for crops in self.people[:3]]

    def test_examples_yield_findings(self, detector: FacesDetector) -> None:
        for findings in detector.detect(self.examples()):
            (face,) = findings
            assert face.score > 0.7
            assert abs(face.region.x + face.region.width / 2 - 280 / 640) < 0.05
            assert abs(face.region.y + face.region.height / 2 - 230 / 480) < 0.08

    def test_a_picture_without_a_face_yields_nothing(self, detector: FacesDetector) -> None:
        assert detector.detect([make_image(picture())]) == [[]]

    def test_every_face_is_found(self, detector: FacesDetector, crops) -> None:
        people = list(crops.values())
        both = on_canvas(people[0][0], left=60, top=150)
        both[150:310, 400:560] = on_canvas(people[1][0], left=400, top=150)[150:310, 400:560]

        (findings,) = detector.detect([make_image(both)])

        assert len(findings) == 2

    def test_a_face_that_fills_the_picture_is_found(self, detector: FacesDetector, crops) -> None:
        for faces in crops.values():
            large = np.asarray(Pillow.fromarray(faces[0]).resize((1200, 1200)))
            assert detector.find(Frame(0, large)), "a face of 1,200 px was missed"

    def test_aligning_puts_the_landmarks_in_their_places(self) -> None:
        """Landmarks that are turned, scaled and moved come back to the five points."""
        pixels = np.zeros((400, 400, 3), np.uint8)
        angle = np.deg2rad(25)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        landmarks = ((FIVE_POINTS - 56) @ turn.T * 1.8 + 200).astype(np.float32)
        for x, y in landmarks:
            pixels[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5] = 255

        aligned = align(pixels, landmarks)

        assert aligned.shape == (112, 112, 3)
        assert all(aligned[round(float(y)), round(float(x))].min() > 150 for x, y in FIVE_POINTS)


def test_templates_tell_people_apart(runtime: Runtime, crops) -> None:
    """Photos of one person are alike, photos of two are not. These people may be in SFace's training set."""
    templates = [FaceTemplates(runtime).of(faces) for faces in crops.values()]
    same = [float(t[i] @ t[j]) for t in templates for i in range(4) for j in range(i)]
    other = [
        float(a @ b) for i, first in enumerate(templates) for second in templates[:i] for a in first for b in second
    ]

    assert np.allclose([np.linalg.norm(t, axis=1) for t in templates], 1, atol=1e-5)
    assert np.median(same) > 0.5
    assert np.median(other) < 0.15
    assert np.mean(np.array(same) > np.quantile(other, 0.99)) > 0.9


def test_no_crops_no_templates(runtime: Runtime) -> None:
    assert FaceTemplates(runtime).of([]).shape == (0, 128)
