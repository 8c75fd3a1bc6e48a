"""From a detector's raw score to `fpr`: the share of its calibration negatives that score at least as high.

Within the negatives' range the share is counted. Above it nothing was seen, so the tail is extrapolated: scores are
taken in log-odds, where the upper tail of a classifier's negatives falls off about exponentially (a generalised Pareto
tail with shape 0; Pickands 1975). The extrapolation is an estimate and says so in the model card.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.errors import ModelError

FLOOR = 1e-9
"""Smallest `fpr` ever stated: no set of negatives supports less."""


def log_odds(scores: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """log(p / (1 − p)) of scores in [0, 1], finite at both ends."""
    clipped = np.clip(np.asarray(scores, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


@dataclass(frozen=True)
class Calibration:
    """What a detector's scores mean on images that do not show its label.

    model: `name@digest` of the weights that were calibrated; another model must not be read with it.
    negatives: how many images; source: which ones.
    knots: log-odds at which the share was counted, ascending; shares: share of negatives at or above each knot,
        descending to about one hundredth.
    tail_rate: how fast the share falls above the last knot: share · exp(−tail_rate · distance in log-odds).
    """

    model: str
    negatives: int
    source: str
    knots: tuple[float, ...]
    shares: tuple[float, ...]
    tail_rate: float

    def fpr(self, score: float) -> float:
        """Share of negatives that score at least `score`, in [1e-9, 1]. Never rises with the score."""
        return float(self.fprs(np.array([score]))[0])

    def fprs(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """The same of many scores, float (n,)."""
        positions = log_odds(scores)
        counted = np.exp(np.interp(positions, self.knots, np.log(self.shares)))
        beyond = np.maximum(FLOOR, self.shares[-1] * np.exp(-self.tail_rate * (positions - self.knots[-1])))
        inside = np.where(positions <= self.knots[0], 1.0, counted)
        return np.asarray(np.where(positions <= self.knots[-1], inside, beyond), np.float64)

    @classmethod
    def fit(cls, scores: NDArray[np.floating], *, model: str, source: str, fewest: int = 200) -> "Calibration":
        """Calibrate on the raw scores of negatives, shape (n,), n ≥ `fewest`.

        Shares are counted down to 0.02, or to that of four negatives where they are fewer than 200; the tail's rate is
        fitted on the top fifth, by maximum likelihood.
        """
        if len(scores) < fewest:
            raise ValueError(f"{len(scores)} negatives are too few to calibrate on: {fewest} are needed.")
        positions = np.sort(log_odds(scores))
        least = max(0.02, 4 / len(positions))
        low = np.geomspace(0.1, least, 8)[1:] if least < 0.1 else np.array([])
        wanted = np.concatenate([np.linspace(1.0, max(0.1, least), 37), low])
        knots = np.quantile(positions, 1 - wanted)
        keep = np.concatenate([[True], np.diff(knots) > 1e-9])
        start = float(np.quantile(positions, 0.8))
        return cls(
            model=model,
            negatives=len(scores),
            source=source,
            knots=tuple(np.round(knots[keep], 6).tolist()),
            shares=tuple(np.round(wanted[keep], 6).tolist()),
            tail_rate=round(1 / float(np.mean(positions[positions > start] - start)), 6),
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path, *, model: str) -> "Calibration":
        """Raises ModelError when the file is missing, malformed or was made for another model."""
        try:
            values = json.loads(path.read_text())
            calibration = cls(**{**values, "knots": tuple(values["knots"]), "shares": tuple(values["shares"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"The calibration {path} cannot be read: {error}") from error
        if calibration.model != model:
            raise ModelError(
                f"The calibration {path} was made for {calibration.model}, not for {model}.",
                hint="Calibrate the model that is served, or serve the one that was calibrated.",
            )
        return calibration
