"""AI-generated images."""

from collections.abc import Sequence

from detectors.base import Detector, Finding, Label
from detectors.image import Image


class SyntheticDetector(Detector):
    """Pictures made by a generative model. No model ships yet: every image is `skipped: no model`."""

    name = "synthetic"
    cost_ms = 0.0
    labels = (Label("synthetic", "The picture was made by a generative model.", scored=True, calibrated=True),)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self.did_not_measure("skipped", "no model") for _ in images]
