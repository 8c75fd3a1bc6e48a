"""Fits what `detectors/likeness_scores.py` needs to know of other people's faces."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibration, log_odds
from detectors.likeness_scores import LikenessCalibration, similarities, unit
from tests.bench.likeness_data import Features, Templates

NUMBERS = (1, 2, 3, 5, 10, 20)
ENROLLED = 5

Scores = NDArray[np.float64]


def centre(people: Templates, strangers: Templates) -> NDArray[np.float32]:
    """The average template: half of it of the people's (people, photos, 128), half of the strangers' (n, 128)."""
    return np.asarray((people.mean(axis=(0, 1)) + strangers.mean(axis=0)) / 2, dtype=np.float32)


def pairs(people: Templates, probes: Templates, strangers: Templates, photos: int, draws: int) -> tuple[Scores, Scores]:
    """Similarities of everyone's probes to everyone's gallery, (genuine, impostor), with so many photos enrolled.

    people, probes: (people, photos, 128), of the same photos in the same order; enrolled ones are no probes. Each pair is
    centred by what the others share: people who took part in the centre look less alike than strangers do.
    """
    random = np.random.default_rng(0)
    enrolled = [[random.permutation(people.shape[1]) for _ in people] for _ in range(draws)]
    genuine, impostor = [], []
    for owner in range(len(people)):
        for other in range(len(people)):
            middle = centre(np.delete(people, [owner, other], axis=0), strangers)
            own, faces = unit(people[owner] - middle), unit(probes[other] - middle)
            for draw in enrolled:
                chosen = draw[owner]
                kept = chosen[photos:] if other == owner else chosen
                scores = similarities(faces[kept], own[chosen[:photos]])
                (genuine if other == owner else impostor).append(scores)
    return np.concatenate(genuine), np.concatenate(impostor)


def fit(
    model: str,
    people: Features,
    strangers: Templates,
    shrunk: Mapping[int, Templates],
    *,
    source: str,
    draws: int = 20,
) -> LikenessCalibration:
    """Calibrate on these people, each against all others. `shrunk`: templates of their faces by side, of 112."""
    own = people.mirrored
    numbers = tuple((n, *moments(pairs(own, own, strangers, n, 3)[1])) for n in NUMBERS if n < own.shape[1])
    mean, deviation = next(row[1:] for row in numbers if row[0] == ENROLLED)

    def standard(probes: Templates, times: int) -> list[Scores]:
        return [(scores - mean) / deviation for scores in pairs(own, probes, strangers, ENROLLED, times)]

    levels = tuple(
        (round(side / 112, 4), *wider(moments(standard(rows, 3)[1]))) for side, rows in sorted(shrunk.items())
    )
    genuine, impostor = standard(own, draws)
    slope, offset = logistic(genuine, impostor)
    return LikenessCalibration(
        model,
        tuple(np.round(centre(own, strangers).astype(np.float64), 3).tolist()),
        numbers,
        (*levels, (1.0, 0.0, 1.0)),
        slope,
        offset,
        tail(model, 1 / (1 + np.exp(-(slope * impostor + offset))), source),
    )


def moments(scores: Scores) -> tuple[float, float]:
    return round(float(scores.mean()), 5), round(float(scores.std()), 5)


def wider(found: tuple[float, float]) -> tuple[float, float]:
    """Never in favour of a match: other losses than pixels look alike, and may not lower what is found."""
    return max(0.0, found[0]), max(1.0, found[1])


def logistic(genuine: Scores, impostor: Scores) -> tuple[float, float]:
    """Slope and offset of a logistic regression that gives both classes the same weight (Newton's method)."""
    x = np.concatenate([genuine, impostor])
    y = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    weight = np.where(y == 1, 0.5 / len(genuine), 0.5 / len(impostor))
    design, beta = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (y - chance)) - 1e-4 * beta * [1, 0]
        curvature = (design * (weight * chance * (1 - chance))[:, None]).T @ design + np.diag([1e-4, 1e-9])
        beta += np.linalg.solve(curvature, gradient)
    return round(float(beta[0]), 5), round(float(beta[1]), 5)


def tail(model: str, scores: Scores, source: str) -> Calibration:
    """Shares counted down to 1 in 300, then an exponential through the highest hundredth (in log-odds)."""
    positions = np.sort(log_odds(scores))
    wanted = np.concatenate([np.linspace(1.0, 0.1, 19), np.geomspace(0.1, 1 / 300, 12)[1:]])
    knots = np.quantile(positions, 1 - wanted)
    start = float(np.quantile(positions, 0.99))
    keep = np.concatenate([[True], np.diff(knots) > 1e-6])
    return Calibration(
        model=model,
        negatives=len(scores),
        source=source,
        knots=tuple(np.round(knots[keep], 5).tolist()),
        shares=tuple(np.round(wanted[keep], 6).tolist()),
        tail_rate=round(1 / float(np.mean(positions[positions > start] - start)), 5),
    )
