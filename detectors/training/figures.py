"""The figures that judge scores: ranking, operating points, calibration, and how sure one can be of them. NumPy only.

`positive` marks what a detector should find; `scores` may be logits or probabilities, higher where it is surer.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.training.data import DataError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 10
RESAMPLES = 500


def auc(scores: Array, positive: Flags) -> float:
    """Area under the ROC curve; ties count half. Raises DataError for one class."""
    _both(positive)
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], "left")
    not_above = np.searchsorted(negatives, scores[positive], "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def threshold_at(negatives: Array, rate: float) -> float:
    """The smallest score that at most a share `rate` of the negatives reaches or passes."""
    ordered = np.sort(negatives)[::-1]
    return float(np.nextafter(ordered[min(len(ordered) - 1, int(rate * len(ordered)))], np.inf))


def recall_at(scores: Array, positive: Flags, rate: float) -> float:
    """Share of the positives above the threshold that a share `rate` of the negatives passes. Raises DataError for one class."""
    _both(positive)
    return float((scores[positive] >= threshold_at(scores[~positive], rate)).mean())


def _both(positive: Flags) -> None:
    if not positive.any() or positive.all():
        raise DataError("The figures were asked of one class only.", hint="Positives and negatives are needed.")


def probabilities(logits: Array) -> Array:
    """1 / (1 + e^−logit), without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))


def balanced(positive: Flags, prevalence: float = 0.5) -> Array:
    """Weights that give the positives a total of `prevalence` and the negatives the rest."""
    return np.asarray(np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum()))


def calibration_error(probability: Array, positive: Flags, weights: Array | None = None, bins: int = BINS) -> float:
    """Expected calibration error over `bins` bins of equal width; `weights` of the examples, alike without them."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    share = np.full(len(place), 1 / len(place)) if weights is None else weights / weights.sum()
    gaps = [abs(share[place == b] @ (probability[place == b] - positive[place == b])) for b in range(bins)]
    return float(sum(gaps))


def interval(
    measured: Callable[[NDArray[np.intp]], float], clusters: Sequence[Sequence[int]], resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % bootstrap interval, clusters drawn with replacement by seed 0 (Efron 1979).

    measured: the figure of the rows that it is given. clusters: rows that belong together, as pictures of one person do.
    """
    random = np.random.default_rng(0)
    rows = [np.asarray(cluster, dtype=np.intp) for cluster in clusters]
    drawn = [
        measured(np.concatenate([rows[place] for place in random.integers(len(rows), size=len(rows))]))
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
