"""AI-generated images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector, Finding, Label
from detectors.calibration import Calibration
from detectors.card import verified
from detectors.image import Image
from detectors.runtime import Runtime, file_sha256

WEIGHTS = Path(__file__).with_name("weights")
BACKBONE = "clip_vit_b16"


def _version() -> str:
    """Of the method and the shipped model, so that pictures are measured anew when another model ships."""
    path = WEIGHTS / "synthetic.onnx"
    return f"2+{file_sha256(path)[:12]}" if path.is_file() else "2"


class SyntheticDetector(Detector):
    """Pictures made by a generative model: linear heads on the class tokens of CLIP's blocks, which every scan computes.

    `score` is the probability of generation where half the pictures are generated; `fpr` is counted on real images
    that the scoring models had not seen. An animation gets its most suspicious frame. What it was trained on,
    its figures and its limits are in `weights/synthetic.card.json` and docs/training.md.
    """

    name = "synthetic"
    version = _version()
    cost_ms = 0.2
    needs = ("blocks",)
    labels = (Label("synthetic", "The picture was made by a generative model.", scored=True, calibrated=True),)

    def __init__(self, runtime: Runtime, folder: Path = WEIGHTS) -> None:
        super().__init__(runtime)
        self.card, path = verified(folder, self.name, runtime, BACKBONE)
        self.calibration = Calibration.read(folder / f"{self.name}.calibration.json", model=self.card.identity)
        self.session = runtime.load(path)

    @property
    def model(self) -> str:
        return self.card.identity

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def score(self, blocks: NDArray[np.float32]) -> float:
        """The highest probability of generation of class tokens, float32 (n, 12, 768)."""
        (logits,) = self.session.run(["logit"], {"blocks": blocks})
        return float(1 / (1 + np.exp(-logits.max())))

    def _measure(self, image: Image) -> list[Finding]:
        if "blocks" not in image.features:
            return self.did_not_measure("skipped", "the picture was not embedded")
        logits, votes = self.session.run(["logit", "votes"], {"blocks": image.features["blocks"]})
        worst = int(np.argmax(logits))
        logit = float(logits[worst])
        score = float(1 / (1 + np.exp(-logit)))
        blocks = self.card.training["choice"]["blocks"]
        evidence = {
            "logit": round(logit, 4),
            "backbone": self.card.backbone,
            "heads": {
                f"block {block}": round(float(vote), 4) for block, vote in zip(blocks, votes[worst], strict=True)
            },
        }
        frame = image.frames[worst].index if image.frame_count > 1 else None
        return [self.finding("synthetic", score, fpr=self.calibration.fpr(score), frame=frame, evidence=evidence)]
