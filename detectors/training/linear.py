"""Standardised, weighted L2 logistic regression. NumPy and SciPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from detectors.training.data import DataError
from detectors.training.figures import Array, Flags


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
