"""Explicit content, by Yahoo's open_nsfw."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.base import Finding, FrameDetector, Label
from detectors.calibration import Calibration
from detectors.image import Frame
from detectors.runtime import Runtime

MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


class NsfwDetector(FrameDetector):
    """Explicit-content score from open_nsfw (ResNet-50 thin, Yahoo, 2016), one finding a frame.

    `score` is the network's own softmax: it was trained to be read as a probability, and no explicit images were
    used here to check that. `fpr` is calibrated on benign images (see `weights/nsfw.calibration.json`); how often each kind of
    benign picture reaches it is in docs/training.md (`python -m tests.bench.nsfw`).
    """

    name = "nsfw"
    cost_ms = 25.0
    weights = ("open_nsfw",)
    labels = (Label("nsfw", "Explicit sexual content or nudity.", scored=True, calibrated=True),)

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.session = runtime.session("open_nsfw")
        self.calibration = Calibration.read(
            Path(__file__).with_name("weights") / "nsfw.calibration.json", model=runtime.identity("open_nsfw")
        )

    def measure(self, frames: Sequence[Frame]) -> list[list[Finding]]:
        findings = []
        for score in self.scores(frames):
            findings.append([self.finding("nsfw", score, fpr=self.calibration.fpr(score))])
        return findings

    def scores(self, frames: Sequence[Frame]) -> list[float]:
        """The raw score of each frame, in [0, 1]. One frame at a time: a batch would gain nothing on a CPU."""
        return [float(self.session.run(None, {"input:0": prepare(frame)[None]})[0][0, 1]) for frame in frames]


def prepare(frame: Frame) -> NDArray[np.float32]:
    """The network's input, float32 of shape (224, 224, 3), BGR less the mean.

    As open_nsfw was trained and published: scaled to 256 × 256, saved as JPEG, cropped to the centre.
    """
    picture = PIL.Image.fromarray(frame.pixels).resize((256, 256), PIL.Image.Resampling.BILINEAR, reducing_gap=3.0)
    with io.BytesIO() as buffer:
        picture.save(buffer, format="JPEG")
        pixels = np.asarray(PIL.Image.open(buffer), dtype=np.float32)
    return np.ascontiguousarray(pixels[16:240, 16:240, ::-1] - MEAN_BGR)
