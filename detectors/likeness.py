"""The likeness of protected people."""

from collections.abc import Sequence

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Image


class LikenessDetector(Detector):
    """A face like that of an enrolled person. Nobody can be enrolled yet: every image is `skipped: no gallery`."""

    name = "likeness"
    cost_ms = 0.0
    labels = (
        Label(
            "likeness",
            "The likeness of a person who is enrolled for protection.",
            scored=True,
            calibrated=True,
            fields={"person": Field("string", "The enrolled person's id.")},
        ),
    )

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self.did_not_measure("skipped", "no gallery") for _ in images]
