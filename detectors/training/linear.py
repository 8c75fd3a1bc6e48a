"""Linear rules on standardised rows: logistic regression, and a discriminant between groups. NumPy and SciPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
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
    scaled, mean, deviation = _standardised(rows, positive)
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


def discriminate(
    rows: NDArray[np.floating],
    positive: Flags,
    weights: Array,
    groups: NDArray[np.str_],
    *,
    strength: float,
    spread: tuple[float, float],
) -> Linear:
    """Fisher's linear discriminant (1936) of two classes that are made of groups, with a penalty on where groups differ.

    The covariance is that within groups, of both classes alike heavy, + `spread` times the scatter of the groups' means in
    their class (negatives first, positives second), + strength · 1: a direction in which the sources of one class
    differ among themselves says little of a source that is not there. The noise of that covariance along the weight is 1, so that fits with
    different penalties speak alike loud. Raises DataError for one class or values that are not finite.
    """
    scaled, mean, deviation = _standardised(rows, positive)
    covariance = strength * np.eye(rows.shape[1])
    means = []
    for side, scatter in ((~positive, spread[0]), (positive, spread[1])):
        members, share = scaled[side], weights[side] / weights[side].sum()
        names, place = np.unique(groups[side], return_inverse=True)
        heavy = np.bincount(place, share)
        centres = np.stack([share[place == n] @ members[place == n] / heavy[n] for n in range(len(names))])
        middle = heavy @ centres
        inner = (members - centres[place].astype(np.float32)) * np.sqrt(share).astype(np.float32)[:, None]
        outer = (centres - middle) * np.sqrt(heavy)[:, None]
        covariance += (inner.T @ inner + scatter * (outer.T @ outer)) / 2
        means.append(middle)
    apart = means[1] - means[0]
    weight = cho_solve(cho_factor(covariance), apart)
    weight /= np.sqrt(weight @ apart)
    return Linear(mean, deviation, weight, float(-weight @ (means[0] + means[1]) / 2))


def _standardised(rows: NDArray[np.floating], positive: Flags) -> tuple[NDArray[np.float32], Array, Array]:
    """Rows with mean 0 and deviation 1, that mean and that deviation. Raises DataError where nothing can be fitted."""
    if not positive.any() or positive.all():
        raise DataError("The regression was given one class only.", hint="Both classes are needed in every split.")
    if not np.isfinite(rows).all():
        raise DataError("Features hold NaN or infinity.", hint="Delete the feature cache and compute it again.")
    mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64) + 1e-6
    return ((rows - mean) / deviation).astype(np.float32), mean, deviation
