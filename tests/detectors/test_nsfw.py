"""Explicit content. Only benign pictures are used: what is checked is that they score low, and the machinery."""

import numpy as np
import pytest

from detectors.image import Frame
from detectors.nsfw import NsfwDetector, prepare
from tests.contract import DetectorContract
from tests.factories import make_image, picture


class TestNsfw(DetectorContract):
    detector_class = NsfwDetector

    def test_benign_photographs_score_low_and_have_a_high_fpr(self, detector: NsfwDetector, shared_data) -> None:
        from PIL import Image

        photos = sorted((shared_data / "images/real/bsds").iterdir())[:20]
        images = [make_image(np.asarray(Image.open(path).convert("RGB"))) for path in photos]
        findings = [finding for (finding,) in detector.detect(images)]

        assert np.median([finding.score for finding in findings]) < 0.05
        assert min(finding.fpr for finding in findings) > 0.001

    def test_fpr_falls_as_the_score_rises(self, detector: NsfwDetector) -> None:
        rates = [detector.calibration.fpr(score) for score in np.linspace(0, 1, 101)]

        assert rates == sorted(rates, reverse=True)
        assert rates[0] == pytest.approx(1)
        assert 0 < rates[-1] < 1e-4

    def test_the_worst_frame_of_an_animation_is_kept(self, detector: NsfwDetector) -> None:
        frames = [picture(seed=seed) for seed in range(3)]
        scores = detector.scores([Frame(i, frame) for i, frame in enumerate(frames)])
        ((finding,),) = detector.detect([make_image(*frames)])

        assert finding.score == max(scores)
        assert finding.frame == int(np.argmax(scores))

    def test_the_input_is_what_the_network_was_trained_on(self) -> None:
        """A plain colour comes out as blue, green, red, less the mean of each."""
        red = prepare(Frame(0, np.full((50, 80, 3), (200, 100, 50), np.uint8)))

        assert red.shape == (224, 224, 3)
        assert np.allclose(red.mean(axis=(0, 1)), [50 - 104, 100 - 117, 200 - 123], atol=2)
