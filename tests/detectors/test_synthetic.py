"""Generated images: what the shipped model finds, and which files are not loaded."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.base import Detector, Finding
from detectors.card import Card
from detectors.embedding import EmbeddingDetector
from detectors.errors import ModelError
from detectors.image import Image
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS, SyntheticDetector
from tests.contract import DetectorContract
from tests.factories import make_image, picture


class TestSynthetic(DetectorContract):
    detector_class = SyntheticDetector

    @pytest.fixture(autouse=True)
    def _embedding(self, runtime: Runtime) -> None:
        self.embedding = EmbeddingDetector(runtime)

    def detect(self, detector: Detector, images: Sequence[Image]) -> list[list[Finding]]:
        if images:
            self.embedding.detect(images)
        return detector.detect(images)

    def test_the_finding_says_which_heads_spoke(self, detector: SyntheticDetector) -> None:
        ((finding,),) = self.detect(detector, [make_image(picture(seed=1))])

        assert list(finding.evidence["heads"]) == [f"block {b}" for b in detector.card.training["choice"]["blocks"]]
        assert finding.evidence["backbone"] == detector.runtime.identity("clip_vit_b16")
        assert finding.score == pytest.approx(1 / (1 + np.exp(-finding.evidence["logit"])), abs=1e-4)
        assert finding.model == detector.card.identity

    def test_without_an_embedding_nothing_is_said(self, detector: SyntheticDetector) -> None:
        ((finding,),) = detector.detect([make_image(picture(seed=1))])

        assert (finding.status, finding.reason) == ("skipped", "the picture was not embedded")

    def test_the_most_suspicious_frame_of_an_animation_is_kept(self, detector: SyntheticDetector) -> None:
        frames = [picture(seed=seed) for seed in range(3)]
        alone = [self.detect(detector, [make_image(frame)])[0][0].score for frame in frames]
        ((finding,),) = self.detect(detector, [make_image(*frames)])

        assert finding.score == pytest.approx(max(alone), abs=1e-5)
        assert finding.frame == int(np.argmax(alone))

    def test_fpr_falls_as_the_score_rises(self, detector: SyntheticDetector) -> None:
        rates = [detector.calibration.fpr(score) for score in np.linspace(0, 1, 101)]

        assert rates == sorted(rates, reverse=True)

    def test_generated_pictures_stand_out_from_photos(self, detector: SyntheticDetector, shared_data: Path) -> None:
        """A check that the served path is the trained one. These pictures trained the model: no figure of it."""

        def scores(folder: str) -> list[float]:
            paths = sorted((shared_data / "images" / folder).iterdir())[:6]
            images = [make_image(np.asarray(Pillow.open(path).convert("RGB"))) for path in paths]
            return [finding.score or 0.0 for (finding,) in self.detect(detector, images)]

        assert min(scores("generated/sdsheet")) > max(scores("real/imagenet"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in WEIGHTS.glob("synthetic.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_a_copy_of_the_shipped_model_loads(runtime: Runtime, folder: Path) -> None:
    assert SyntheticDetector(runtime, folder).card == Card.read(WEIGHTS, "synthetic")


@pytest.mark.parametrize("file", ["synthetic.onnx", "synthetic.card.json", "synthetic.calibration.json"])
def test_a_model_with_a_part_missing_is_not_loaded(runtime: Runtime, folder: Path, file: str) -> None:
    (folder / file).unlink()

    with pytest.raises(ModelError, match=file):
        SyntheticDetector(runtime, folder)


def test_a_model_that_its_card_does_not_describe_is_not_loaded(runtime: Runtime, folder: Path) -> None:
    (folder / "synthetic.onnx").write_bytes((folder / "synthetic.onnx").read_bytes() + b"\0")

    with pytest.raises(ModelError, match="its card says"):
        SyntheticDetector(runtime, folder)


def test_a_card_without_a_digest_is_refused(runtime: Runtime, folder: Path) -> None:
    values = json.loads((folder / "synthetic.card.json").read_text())
    del values["sha256"]
    (folder / "synthetic.card.json").write_text(json.dumps(values))

    with pytest.raises(ModelError, match="cannot be read"):
        SyntheticDetector(runtime, folder)


def test_a_model_for_another_backbone_is_not_loaded(runtime: Runtime, folder: Path) -> None:
    dataclasses.replace(Card.read(folder, "synthetic"), backbone="clip_vit_b16@other").write(folder)

    with pytest.raises(ModelError, match="clip_vit_b16@other"):
        SyntheticDetector(runtime, folder)


def test_a_calibration_of_another_model_is_refused(runtime: Runtime, folder: Path) -> None:
    path = folder / "synthetic.calibration.json"
    path.write_text(path.read_text().replace("synthetic@", "synthetic@0"))

    with pytest.raises(ModelError, match="was made for"):
        SyntheticDetector(runtime, folder)
