"""Finding an enrolled person again: `python -m tests.bench.likeness [--quick | --fit]`. The last line is one JSON object.

Open-set identification: a face is compared with each enrolled person, five photos enrolled. TPR: share of the person's
other faces that score above the threshold with their own entry; FMR: share of comparisons of a face with an entry of
somebody else (per comparison with a person, not per search) above it.

photo      other photographs of the person, by the head that ships
generated  renderings of those photographs: reconstructions and styles, made with OpenCV. Stand-ins: no generative model
           made them
baseline   plain SFace cosine on the photographs, to the mean template or to the nearest one, whichever is better;
           `baseline_generated` the same on the renderings

Repeated splits: what the head learns comes of five people and of strangers, all figures of the other six. Intervals:
95 %, bootstrap over people. These people are public figures who are in the training sets of most recognisers: all
figures are optimistic. One of the eleven folders holds two people's faces by the templates' own account.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.image import Pixels
from detectors.likeness import CALIBRATION
from detectors.likeness_scores import LikenessCalibration, similarities, unit
from detectors.runtime import Runtime
from moderation.settings import settings
from tests.bench.likeness_data import (
    LEVELS,
    RENDERINGS,
    Features,
    Templates,
    features,
    people_crops,
    shrunk,
    stranger_crops,
)
from tests.bench.likeness_fit import ENROLLED, Scores, fit
from tests.conftest import SHARED_DATA

RATES = {"tpr_1e2": 1e-2, "tpr_1e3": 1e-3}
SOURCE = "110 ordered pairs of eleven adults in public life, 25 photographs each, five of them enrolled"


@dataclass
class Trials:
    """Scores with the people behind them: owner of the entry, person of the face."""

    scores: list[Scores] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)

    def add(self, owner: int, other: int, scores: Scores) -> None:
        self.scores.append(scores)
        self.owners.append(owner)
        self.others.append(other)

    def pooled(self) -> "Pool":
        sizes = [len(scores) for scores in self.scores]
        scores = np.concatenate(self.scores)
        order = np.argsort(-scores)
        return Pool(scores[order], np.repeat(self.owners, sizes)[order], np.repeat(self.others, sizes)[order], order)


@dataclass(frozen=True)
class Pool:
    """All trials, the highest score first. `order`: where each was among the trials."""

    scores: Scores
    owners: NDArray[np.int64]
    others: NDArray[np.int64]
    order: NDArray[np.int64]

    def tpr(self, rate: float, weights: NDArray[np.float64]) -> float:
        """TPR at this FMR, with people counted as often as weighted."""
        own = self.owners == self.others
        weight = np.where(own, weights[self.owners], weights[self.owners] * weights[self.others])
        false = np.cumsum(np.where(own, 0, weight))
        true = np.cumsum(np.where(own, weight, 0))
        return float(true[np.searchsorted(false, rate * false[-1], side="right") - 1] / true[-1])

    def threshold(self, rate: float) -> float:
        impostor = self.scores[self.owners != self.others]
        return float(impostor[int(rate * len(impostor))])

    def interval(self, rate: float, people: int, rounds: int = 200) -> tuple[float, float]:
        random = np.random.default_rng(1)
        draws = [np.bincount(random.integers(0, people, people), minlength=people).astype(float) for _ in range(rounds)]
        low, high = np.quantile([self.tpr(rate, draw) for draw in draws if (draw > 0).sum() > 1], [0.025, 0.975])
        return float(low), float(high)


@dataclass(frozen=True)
class Probes:
    """Faces to look for: (people, photos × renderings, 128), renderings of one photo next to each other."""

    of: Features
    renderings: int = 1


Index = NDArray[np.int64]
Compare = Callable[[int, Index, int, Index], Scores]
"""Scores of the faces (other, kept) against the entry of (owner, photos)."""


def plain(enrolled: Features, probes: Features, how: str) -> Compare:
    def compare(owner: int, photos: Index, other: int, kept: Index) -> Scores:
        own, faces = enrolled.plain[owner, photos], probes.plain[other, kept]
        cosines = faces @ unit(own.mean(axis=0)) if how == "mean" else (faces @ own.T).max(axis=1)
        return np.asarray(cosines, dtype=np.float64)

    return compare


def head(enrolled: Features, probes: Features, learned: LikenessCalibration) -> Compare:
    entries, faces = learned.centred(enrolled.mirrored), learned.centred(probes.mirrored)

    def compare(owner: int, photos: Index, other: int, kept: Index) -> Scores:
        return similarities(faces[other, kept], entries[owner, photos])

    return compare


@dataclass(frozen=True)
class Split:
    """Five people to learn from, six to measure, and who is enrolled with which photos."""

    learned_from: Index
    measured: Index
    enrolled: Index
    calibration: LikenessCalibration

    def run(self, compare: Compare, probes: Probes, trials: Trials) -> None:
        for owner in self.measured:
            photos = self.enrolled[owner]
            for other in self.measured:
                count = probes.of.plain.shape[1]
                every = np.arange(count)
                kept = every[~np.isin(every // probes.renderings, photos)] if other == owner else every
                trials.add(owner, other, compare(owner, photos, other, kept))


def splits(people: Features, strangers: Templates, count: int, model: str) -> list[Split]:
    random = np.random.default_rng(7)
    number, photos = people.plain.shape[:2]
    made = []
    for _ in range(count):
        order = random.permutation(number)
        enrolled = np.stack([random.permutation(photos)[:ENROLLED] for _ in range(number)])
        learned = fit(model, people.of(order[:5]), strangers, {}, source="a split", draws=2)
        made.append(Split(order[:5], order[5:], enrolled, learned))
    return made


def figures(name: str, pool: Pool, people: int) -> dict[str, float]:
    every = np.ones(people)
    found = {key: round(pool.tpr(rate, every), 4) for key, rate in RATES.items()}
    intervals = {key: "{:.3f}–{:.3f}".format(*pool.interval(rate, people)) for key, rate in RATES.items()}
    print(f"{name:28} {found}  95 % {intervals}", flush=True)
    return found


def by_rendering(pool: Pool, probes: Probes) -> dict[str, float]:
    """TPR of each rendering at the threshold for FMR 1e-3 over all of them. Trials keep the order of renderings."""
    place = pool.order % probes.renderings
    own, above = pool.owners == pool.others, pool.scores > pool.threshold(1e-3)
    return {name: round(float(above[own & (place == number)].mean()), 3) for number, name in enumerate(RENDERINGS)}


def stated(all_splits: Sequence[Split], people: Features) -> dict[str, float]:
    """The share of impostors that are stated to be as rare as this, by what was fitted on the other people."""
    shares: dict[str, list[float]] = {str(rate): [] for rate in RATES.values()}
    for split in all_splits:
        trials, learned = Trials(), split.calibration
        split.run(head(people, people, learned), Probes(people), trials)
        pool = trials.pooled()
        impostor = pool.scores[pool.owners != pool.others]
        fpr = [learned.tail.fpr(learned.score(learned.standard(score, ENROLLED, 1.0))) for score in impostor]
        for rate in RATES.values():
            shares[str(rate)].append(float(np.mean(np.array(fpr) <= rate)))
    return {rate: round(float(np.mean(found)), 5) for rate, found in shares.items()}


def measure(people: Features, strangers: Templates, rendered: Probes, count: int, model: str) -> dict[str, Any]:
    all_splits, number = splits(people, strangers, count, model), len(people.plain)
    pools: dict[str, Pool] = {}
    for kind, probes in (("photo", Probes(people)), ("generated", rendered)):
        for how in ("head", "mean", "max"):
            trials = Trials()
            for split in all_splits:
                compare = head(people, probes.of, split.calibration) if how == "head" else plain(people, probes.of, how)
                split.run(compare, probes, trials)
            pools[f"{kind} {how}"] = trials.pooled()
    found = {name: figures(name, pool, number) for name, pool in pools.items()}
    if rendered.renderings == len(RENDERINGS):
        print({how: by_rendering(pools[f"generated {how}"], rendered) for how in ("head", "mean", "max")})
    print({"share of strangers at a stated fpr": stated(all_splits, people)}, flush=True)

    def better(kind: str) -> dict[str, float]:
        return max((found[f"{kind} {how}"] for how in ("mean", "max")), key=lambda one: one["tpr_1e3"])

    return {
        "photo": found["photo head"],
        "generated": found["generated head"],
        "baseline": better("photo"),
        "baseline_generated": better("generated"),
    }


def rendered_probes(runtime: Runtime, crops: Sequence[Sequence[Pixels]], quick: bool) -> Probes:
    """All renderings of each photo, or one of them in turn."""
    methods = list(RENDERINGS.values())
    if quick:
        turn = [[methods[(i + j) % len(methods)](crop) for j, crop in enumerate(row)] for i, row in enumerate(crops)]
        return Probes(features(runtime, turn))
    every = [[method(crop) for crop in row for method in methods] for row in crops]
    return Probes(features(runtime, every), len(methods))


def calibrate(runtime: Runtime, crops: Sequence[Sequence[Pixels]], people: Features, strangers: Templates) -> None:
    """Fit on everyone and write what the detector reads."""
    small = {
        side: features(runtime, [[shrunk(side)(crop) for crop in row] for row in crops]).mirrored for side in LEVELS
    }
    learned = fit(runtime.identity("sface"), people, strangers, small, source=SOURCE)
    learned.write(CALIBRATION)
    print({"templates": learned.templates, "resolutions": learned.resolutions, "tail_rate": learned.tail.tail_rate})
    without = (people.mirrored.mean(axis=1), strangers.mean(axis=0))
    print({"cosine of a person to the centre, taken part and not": membership(*without)})


def membership(people: Templates, strangers: Templates) -> list[list[float]]:
    """What the centre gives away of who took part: cosines of each person's mean to it, with and without them."""
    rows = []
    for number, person in enumerate(people):
        parts = (people.mean(axis=0), np.delete(people, number, axis=0).mean(axis=0))
        rows.append([round(float(unit(person) @ unit(part / 2 + strangers / 2)), 3) for part in parts])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one rendering a photo, fewer strangers: at most 40 s")
    parser.add_argument("--fit", action="store_true", help="write the calibration that the detector ships with")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    runtime = Runtime(settings().models, threads=2)
    crops = people_crops(SHARED_DATA / "faces")
    people = features(runtime, crops)
    found = stranger_crops(runtime, SHARED_DATA / "images" / "real", every=6 if options.quick else 1)
    strangers = features(runtime, [found]).mirrored[0]
    if options.fit:
        calibrate(runtime, crops, people, strangers)
        return
    rendered = rendered_probes(runtime, crops, options.quick)
    print(json.dumps(measure(people, strangers, rendered, 12 if options.quick else 60, runtime.identity("sface"))))


if __name__ == "__main__":
    main()
