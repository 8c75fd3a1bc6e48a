"""Swapped faces."""

from collections.abc import Sequence

from detectors.base import Detector, Finding, Label
from detectors.image import Image


class SwapDetector(Detector):
    """Faces put onto another body. No model ships yet: every image is `skipped: no model`."""

    name = "swap"
    cost_ms = 0.0
    labels = (Label("swap", "A face was swapped or pasted in.", scored=True, calibrated=True),)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self.did_not_measure("skipped", "no model") for _ in images]
