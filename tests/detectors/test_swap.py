"""Swapped faces: what is measured, what cannot be judged, and models that are not loaded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.errors import ModelError
from detectors.faces import FacesDetector
from detectors.image import Image
from detectors.runtime import Runtime
from detectors.swap import MOST_FACES, WEIGHTS, SwapDetector, SwapModel, sharpness
from tests.contract import DetectorContract
from tests.factories import make_image, picture


@pytest.fixture(scope="module")
def faces(runtime: Runtime) -> FacesDetector:
    return FacesDetector(runtime)


@pytest.fixture(scope="module")
def crops(shared_data: Path) -> list[np.ndarray]:
    """The third crop of each of six people."""
    folders = sorted((shared_data / "faces").iterdir())[3:9]
    return [np.asarray(Pillow.open(sorted(folder.glob("*.png"))[2]).convert("RGB")) for folder in folders]


def photo(*crops: np.ndarray, side: int = 200) -> Image:
    canvas = np.full((side + 160, (side + 100) * len(crops), 3), 120, np.uint8)
    for place, crop in enumerate(crops):
        left = (side + 100) * place + 50
        canvas[60 : 60 + side, left : left + side] = np.asarray(Pillow.fromarray(crop).resize((side, side)))
    return make_image(canvas)


class TestSwap(DetectorContract):
    detector_class = SwapDetector

    @pytest.fixture(autouse=True)
    def _people(self, crops: list[np.ndarray], faces: FacesDetector) -> None:
        self.crops, self.faces = crops, faces

    def examples(self) -> list[Image]:
        return [photo(self.crops[0], self.crops[1]), photo(self.crops[2])]

    def detect(self, detector, images):
        self.faces.detect(images)
        return detector.detect(images)

    def test_one_finding_a_face(self, detector: SwapDetector) -> None:
        (findings,) = self.detect(detector, [photo(*self.crops[:3])])

        assert [finding.status for finding in findings] == ["ok"] * 3
        for finding in findings:
            assert finding.region is not None
            assert finding.frame is None
            assert finding.model == detector.parameters.identity
            assert finding.evidence["pixels"] > 80
            assert 0 <= finding.evidence["altered"] <= 1
            assert np.shape(finding.evidence["map"]) == (7, 7)

    def test_a_blend_scores_above_the_face_it_was_made_of(self, detector: SwapDetector) -> None:
        """A face pasted through a hard square, in other colours: what nobody could miss."""
        pasted = []
        for target, source in zip(self.crops, self.crops[1:] + self.crops[:1], strict=True):
            mixed = target.copy()
            mixed[34:100, 26:88] = np.clip(source[34:100, 26:88] * 0.8 + 30, 0, 255)
            pasted.append(mixed)

        real, _ = detector.answers(self.crops)
        fake, _ = detector.answers(pasted)

        assert np.median(fake - real) > 0

    def test_a_picture_without_faces_yields_nothing(self, detector: SwapDetector) -> None:
        assert self.detect(detector, [make_image(picture())]) == [[]]

    def test_unknown_faces_are_not_no_faces(self, detector: SwapDetector) -> None:
        (finding,) = detector.detect([make_image()])[0]

        assert (finding.status, finding.reason) == ("skipped", "faces were not looked for")

    def test_a_small_face_is_skipped_with_the_reason(self, detector: SwapDetector) -> None:
        (findings,) = self.detect(detector, [photo(self.crops[0], side=40)])

        (finding,) = findings
        assert finding.status == "skipped"
        assert "too small" in finding.reason
        assert finding.region is not None

    def test_a_blurred_face_is_skipped_with_the_reason(self, detector: SwapDetector) -> None:
        tiny = np.asarray(Pillow.fromarray(self.crops[0]).resize((20, 20)))

        (findings,) = self.detect(detector, [photo(tiny)])

        assert [finding.reason for finding in findings] == ["the face is too blurred"]

    def test_measured_faces_stand_beside_skipped_ones(self, detector: SwapDetector) -> None:
        large, small = photo(self.crops[0]).frames[0].pixels, photo(self.crops[1], side=50).frames[0].pixels
        both = np.full((400, 500, 3), 120, np.uint8)
        both[: large.shape[0], : large.shape[1]] = large
        both[190:400, 350:500] = small

        (findings,) = self.detect(detector, [make_image(both)])

        assert [finding.status for finding in findings] == ["ok", "skipped"]

    def test_only_the_largest_faces_are_measured(self, detector: SwapDetector) -> None:
        image = photo(self.crops[0])
        self.faces.detect([image])
        image.features["faces"] = [image.features["faces"][0] * (MOST_FACES + 2)]

        (findings,) = detector.detect([image])

        assert sum(finding.status == "ok" for finding in findings) == MOST_FACES
        assert {f.reason for f in findings if f.status != "ok"} == {f"only the {MOST_FACES} largest faces are measured"}

    def test_an_animation_shows_its_worst_frame(self, detector: SwapDetector) -> None:
        frames = [photo(crop).frames[0].pixels for crop in self.crops[:3]]

        (findings,) = self.detect(detector, [make_image(*frames)])
        alone = [self.detect(detector, [make_image(frame)])[0][0].score for frame in frames]

        assert len(findings) == 1
        assert findings[0].frame == int(np.argmax(alone))
        assert findings[0].score == max(alone)

    def test_an_animation_shares_the_faces_out_to_its_frames(self, detector: SwapDetector) -> None:
        image = make_image(*[photo(crop).frames[0].pixels for crop in self.crops[:2]])
        self.faces.detect([image])
        image.features["faces"] = [faces * MOST_FACES for faces in image.features["faces"]]

        (findings,) = detector.detect([image])

        assert sum(finding.status == "ok" for finding in findings) == MOST_FACES // 2

    def test_findings_are_measured_again_with_another_model(self, detector: SwapDetector) -> None:
        assert detector.state("default") == detector.model


def test_sharpness_falls_as_a_crop_is_blurred(crops: list[np.ndarray]) -> None:
    sizes = (112, 56, 28, 14)
    copies = [Pillow.fromarray(crops[0]).resize((size, size)).resize((112, 112)) for size in sizes]
    values = [sharpness(np.asarray(copy)) for copy in copies]

    assert values == sorted(values, reverse=True)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped model."""
    for path in WEIGHTS.glob("swap.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_the_shipped_model_is_small_and_says_what_it_is() -> None:
    card = json.loads((WEIGHTS / "swap.card.json").read_text())

    assert (WEIGHTS / "swap.onnx").stat().st_size <= 6_000_000
    assert card["onnx_difference"] <= 1e-3
    assert card["figures"]
    assert card["limits"]
    assert card["ece"] <= 0.05
    (clone,) = [row for row in card["figures"] if (row["kind"], row["protocol"]) == ("clone", "native")]
    assert clone["auc"][0] >= 0.85


@pytest.mark.parametrize("name", ["swap.onnx", "swap.card.json", "swap.calibration.json"])
def test_a_model_with_a_part_missing_is_not_loaded(shipped: Path, runtime: Runtime, name: str) -> None:
    (shipped / name).unlink()

    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        SwapDetector(runtime, shipped)


def test_a_changed_model_is_not_loaded(shipped: Path) -> None:
    with (shipped / "swap.onnx").open("ab") as stream:
        stream.write(b"\0")

    with pytest.raises(ModelError, match="its card says"):
        SwapModel.read(shipped)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"card": 2}', '{"card": 2, "sha256": "x", "backbone": "y", "slope": "a"}']
)
def test_a_damaged_card_is_refused(shipped: Path, content: str) -> None:
    (shipped / "swap.card.json").write_text(content)

    with pytest.raises(ModelError, match="cannot be read"):
        SwapModel.read(shipped)


def test_tokens_of_another_clip_are_refused(shipped: Path, runtime: Runtime) -> None:
    card = json.loads((shipped / "swap.card.json").read_text())
    (shipped / "swap.card.json").write_text(json.dumps({**card, "backbone": "clip_vit_b16@other"}))

    with pytest.raises(ModelError, match="clip_vit_b16@other"):
        SwapDetector(runtime, shipped)


def test_a_card_of_another_version_is_refused(shipped: Path) -> None:
    card = json.loads((shipped / "swap.card.json").read_text())
    (shipped / "swap.card.json").write_text(json.dumps({**card, "card": 99}))

    with pytest.raises(ModelError, match="version 99"):
        SwapModel.read(shipped)
