"""Heads: labels of a host's own, each a calibrated probe on the image embedding, trained with `palisade train head`."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base import Detector, Finding, Label
from detectors.calibration import Calibration
from detectors.card import Card, verified
from detectors.errors import ModelError
from detectors.image import Image
from detectors.runtime import Runtime, file_sha256

PREFIX = "head_"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
BACKBONE = "clip_vit_b16"
DIMENSIONS = 512


class EmbeddingHead(Detector):
    """A detector of one scored and calibrated label that reads embeddings only, so that it can measure all that was ever scanned.

    An animation gets its highest frame.
    """

    cost_ms = 0.1
    needs = ("embedding",)
    backbone: ClassVar[str] = BACKBONE

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


class HeadDetector(EmbeddingHead):
    """A host's own head: a linear probe on the unit-length embedding. `score` is a probability at the prevalence of its card.

    A subclass of its own is made for each head by `heads_in`, since what a detector can find is known before it is loaded.
    """

    folder: Path
    head: str

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.card, path = verified(self.folder, self.head, runtime, self.backbone)
        self.calibration = Calibration.read(self.folder / f"{self.head}.calibration.json", model=self.card.identity)
        self.session = runtime.load(path)

    @property
    def model(self) -> str:
        return self.card.identity

    def scores(self, embeddings: NDArray[np.float16]) -> NDArray[np.float64]:
        (logits,) = self.session.run(["logit"], {"embedding": unit(embeddings)})
        return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -50, 50))))

    def fprs(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.calibration.fprs(scores)

    def found(self, score: float, fpr: float, frame: int | None) -> Finding:
        evidence = {"backbone": self.card.backbone, "prevalence": self.card.prevalence}
        return self.finding(self.name, score, fpr=fpr, frame=frame, evidence=evidence)


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows as float32 of unit length."""
    rows = np.asarray(embeddings, dtype=np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def heads_in(folder: Path) -> tuple[type[Detector], ...]:
    """A detector for each head in a folder, by name: none where there is no folder. Raises ModelError on a bad name or card.

    A head whose file or calibration is missing or differs from its card has a detector that cannot be loaded, so that
    policies that ask for it say so.
    """
    names = sorted(path.name.removesuffix(".card.json") for path in folder.glob("*.card.json"))
    return tuple(_detector(folder, name) for name in names)


def check_name(name: str) -> None:
    """Raises ModelError when a head cannot have this name: policies write it."""
    if not NAME.fullmatch(name):
        raise ModelError(
            f"{name[:60]!r} is no name of a head.", hint="Up to 40 small letters, digits and _, a letter first."
        )


def _detector(folder: Path, name: str) -> type[Detector]:
    check_name(name)
    card = Card.read(folder, name)
    about = str(card.training.get("about", "")).strip() or f"The host's own label {name}."
    path = folder / f"{name}.onnx"
    values = {
        "name": PREFIX + name,
        "version": f"1+{file_sha256(path)[:12]}" if path.is_file() else "1",
        "labels": (Label(PREFIX + name, about, scored=True, calibrated=True),),
        "folder": folder,
        "head": name,
        "__doc__": about,
        "__module__": __name__,
    }
    return type(f"Head_{name}", (HeadDetector,), values)
