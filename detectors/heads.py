"""Heads that read the stored image embedding, and nothing else: a new one measures all that was ever scanned, without images."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector, Finding
from detectors.calibration import Calibration
from detectors.card import verified
from detectors.image import Image
from detectors.runtime import Runtime

DIMENSIONS = 512


class EmbeddingHead(Detector):
    """A detector of one scored and calibrated label that reads embeddings only.

    A subclass names it, its label and its backbone, and is registered like any detector.
    """

    cost_ms = 0.1
    needs = ("embedding",)
    backbone: ClassVar[str] = "clip_vit_b16"

    @abstractmethod
    def scores(self, embeddings: NDArray[np.float16]) -> NDArray[np.float64]:
        """The score of each embedding, in [0, 1]. embeddings: float16 (n, 512), not normalised."""

    @abstractmethod
    def fprs(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The `fpr` of each score."""

    @property
    def reads(self) -> str:
        """`name@digest` of the model whose embeddings it reads."""
        return self.runtime.identity(self.backbone)

    def found(self, score: float, fpr: float, frame: int | None) -> Finding:
        """The finding of an image whose worst frame has this score."""
        return self.finding(self.labels[0].name, score, fpr=fpr, frame=frame)

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        if "embedding" not in image.features:
            return self.did_not_measure("skipped", "the picture was not embedded")
        scores = self.scores(image.features["embedding"])
        worst = int(np.argmax(scores))
        fpr = float(self.fprs(scores[worst : worst + 1])[0])
        frame = image.frames[worst].index if image.frame_count > 1 else None
        return [self.found(float(scores[worst]), fpr, frame)]


class TrainedHead(EmbeddingHead):
    """A head whose `<name>.onnx`, card and calibration lie in a folder.

    The file takes `embedding`, float32 (n, 512), and gives `logit`, float32 (n,). Raises ModelError when it is missing, is not
    the card's, or reads another backbone than is served.
    """

    folder: ClassVar[Path] = Path(__file__).with_name("weights")

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.card, path = verified(self.folder, self.name, runtime, self.backbone)
        self.calibration = Calibration.read(self.folder / f"{self.name}.calibration.json", model=self.card.identity)
        self.session = runtime.load(path)

    @property
    def model(self) -> str:
        return self.card.identity

    def scores(self, embeddings: NDArray[np.float16]) -> NDArray[np.float64]:
        (logits,) = self.session.run(["logit"], {"embedding": embeddings.astype(np.float32)})
        return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))

    def fprs(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.calibration.fprs(scores)
