"""Generated pictures by a fine-tuned image tower: for hosts with a GPU to train it on, registered in place of the shipped heads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.base import Detector, Finding, Label
from detectors.calibration import Calibration
from detectors.card import Card
from detectors.errors import ModelError
from detectors.image import Frame, Image
from detectors.runtime import Runtime, file_sha256
from detectors.synthetic import SyntheticDetector

PIXELS = "pixels"
"""What a tower's card names as its backbone: it reads pixels and no other model's features."""


class TowerDetector(Detector):
    """`synthetic` by one network on pixels: the centre square at the side that its card states.

    `score`, `fpr`, frames and limits as of `SyntheticDetector`. Raises ModelError where files are missing or not the card's.
    """

    name = "synthetic"
    version = "tower-1"
    cost_ms = 250.0
    labels = (Label("synthetic", "The picture was made by a generative model.", scored=True, calibrated=True),)

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        super().__init__(runtime)
        self.card = Card.read(folder, self.name)
        path = folder / f"{self.name}.onnx"
        if not path.is_file() or file_sha256(path) != self.card.sha256:
            raise ModelError(f"{path} is missing, or is not what its card describes.", hint="Train it anew.")
        self.calibration = Calibration.read(folder / f"{self.name}.calibration.json", model=self.card.identity)
        self.session = runtime.load(path)
        made = self.card.training
        self.side, self.mean, self.deviation = (made[name] for name in ("side", "mean", "deviation"))

    @property
    def model(self) -> str:
        return self.card.identity

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [[self._measure(image)] for image in images]

    def _measure(self, image: Image) -> Finding:
        logits = [
            float(self.session.run(["logit"], {PIXELS: prepare(frame, self.side, self.mean, self.deviation)})[0][0])
            for frame in image.frames
        ]
        worst = int(np.argmax(logits))
        score = float(1 / (1 + np.exp(-np.clip(logits[worst], -50, 50))))
        frame = image.frames[worst].index if image.frame_count > 1 else None
        evidence: dict[str, Any] = {"logit": round(logits[worst], 4), "tower": self.card.training["tower"]}
        return self.finding("synthetic", score, fpr=self.calibration.fpr(score), frame=frame, evidence=evidence)


def prepare(frame: Frame, side: int, mean: Sequence[float], deviation: Sequence[float]) -> NDArray[np.float32]:
    """A tower's input, float32 (1, 3, side, side): the centre square, bicubic, normalised by channel."""
    square = min(frame.width, frame.height)
    left, top = (frame.width - square) / 2, (frame.height - square) / 2
    picture = PIL.Image.fromarray(frame.pixels).resize(
        (side, side), PIL.Image.Resampling.BICUBIC, box=(left, top, left + square, top + square), reducing_gap=3.0
    )
    mean_, deviation_ = (np.asarray(values, dtype=np.float32) for values in (mean, deviation))
    pixels = (np.asarray(picture, dtype=np.float32) / 255 - mean_) / deviation_
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def load_synthetic(runtime: Runtime, folder: Path) -> Detector:
    """The detector of the model in a folder: heads on the embedding, or a tower of its own. Raises ModelError."""
    path = folder / "synthetic.card.json"
    try:
        backbone = json.loads(path.read_text("utf-8")).get("backbone")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"The model card {path} cannot be read: {error}") from error
    return TowerDetector(runtime, folder) if backbone == PIXELS else SyntheticDetector(runtime, folder)
