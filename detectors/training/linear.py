"""Standardised, weighted L2 logistic regression, and the figures that judge scores. NumPy and SciPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from detectors.training.data import DataError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Linear:
    """logit = (x − mean) / deviation · weight + bias, for rows x of shape (n, d)."""

    mean: Array
    deviation: Array
    weight: Array
    bias: float

    def __call__(self, rows: NDArray[np.floating]) -> Array:
        return np.asarray((rows - self.mean) / self.deviation @ self.weight + self.bias)

    def folded(self) -> tuple[Array, float]:
        """The same as one weight (d,) and one bias on rows as they are."""
        weight = self.weight / self.deviation
        return weight, float(self.bias - self.mean @ weight)


def fit(rows: NDArray[np.floating], positive: Flags, weights: Array, strength: float) -> Linear:
    """Minimise the weighted mean log loss + strength / 2 · |weight|². Deterministic (L-BFGS from zero).

    Raises DataError for one class, or for values that are not finite.
    """
    if not positive.any() or positive.all():
        raise DataError("The regression was given one class only.", hint="Both classes are needed in every split.")
    if not np.isfinite(rows).all():
        raise DataError("Features hold NaN or infinity.", hint="Delete the feature cache and compute it again.")
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + 1e-6
    scaled = ((rows - mean) / deviation).astype(np.float32)
    sign = np.where(positive, 1.0, -1.0)
    share = weights / weights.sum()

    def loss(parameters: Array) -> tuple[float, Array]:
        weight, bias = parameters[:-1], parameters[-1]
        margin = sign * (scaled @ weight.astype(np.float32) + bias)
        pull = -share * sign * expit(-margin)
        gradient = np.append(scaled.T @ pull.astype(np.float32) + strength * weight, pull.sum())
        return float(share @ np.logaddexp(0, -margin) + strength / 2 * weight @ weight), gradient.astype(np.float64)

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    if not np.isfinite(found.fun):
        raise DataError(f"The regression's loss became {found.fun}.", hint="Raise `strength`, or look at the features.")
    return Linear(mean, deviation, found.x[:-1], float(found.x[-1]))


def auc(scores: Array, positive: Flags) -> float:
    """Area under the ROC curve; ties count half."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], "left")
    not_above = np.searchsorted(negatives, scores[positive], "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def threshold_at(negatives: Array, rate: float) -> float:
    """The smallest score that at most a share `rate` of the negatives reaches or passes."""
    ordered = np.sort(negatives)[::-1]
    return float(np.nextafter(ordered[min(len(ordered) - 1, int(rate * len(ordered)))], np.inf))


def recall_at(scores: Array, positive: Flags, rate: float) -> float:
    """Share of the positives above the threshold that a share `rate` of the negatives passes."""
    return float((scores[positive] >= threshold_at(scores[~positive], rate)).mean())


def calibration_error(probability: Array, positive: Flags, weights: Array, bins: int = 10) -> float:
    """Expected calibration error over `bins` bins of equal width, examples weighted."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    share = weights / weights.sum()
    gaps = [abs(share[place == b] @ (probability[place == b] - positive[place == b])) for b in range(bins)]
    return float(sum(gaps))


def balanced(positive: Flags, prevalence: float = 0.5) -> Array:
    """Weights that give the positives a total of `prevalence` and the negatives the rest."""
    return np.asarray(np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum()))
