"""A head for tests: a logistic regression on synthetic embeddings, calibrated on negatives that it had not seen."""

import numpy as np
from numpy.typing import NDArray

from detectors.base import Label
from detectors.calibration import Calibration
from detectors.heads import DIMENSIONS, EmbeddingHead
from detectors.runtime import Runtime

DIRECTION = np.random.default_rng(7).normal(size=DIMENSIONS).astype(np.float32) / np.sqrt(DIMENSIONS)
"""The direction in which positives lie."""


def embeddings(count: int, *, positive: NDArray[np.bool_] | None = None, seed: int = 0) -> NDArray[np.float16]:
    """float16 (count, 512); the positive ones lie in `DIRECTION`."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    if positive is not None:
        vectors[positive] += 9 * DIRECTION
    return vectors.astype(np.float16)


class CartoonHead(EmbeddingHead):
    """Linear on the embedding."""

    name = "cartoon"
    labels = (Label("cartoon", "The picture is a cartoon.", scored=True, calibrated=True),)
    weight = DIRECTION

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        negatives = self.scores(embeddings(4_000, seed=1))
        self.calibration = Calibration.fit(negatives, model="cartoon@test", source="synthetic embeddings")

    @property
    def model(self) -> str:
        return "cartoon@test"

    def scores(self, embeddings: NDArray[np.float16]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-(embeddings.astype(np.float32) @ self.weight).astype(np.float64))))

    def fprs(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.calibration.fprs(scores)
