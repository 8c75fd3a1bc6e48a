"""What the `swap` network can do on people it was not trained on, and against blenders it has not seen.

Four kinds of fake, each beside the real crop it was made of, both resampled and saved alike:
`self-blend` (the training's own blender, new people), `clone` (a face of another held-out person put in by
`cv2.seamlessClone`), `alike` (the same of the crop most alike in light and pose) and `reconstruction` (the face alone
through an autoencoder, under a soft mask). Intervals are
bootstrap 95 %, resampling people and not crops, since crops of one person are alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import Calibration
from detectors.image import Pixels
from detectors.training.blending import OUTLINE, Blend, blend, draw
from detectors.training.figures import auc, calibration_error, interval, probabilities, recall_at
from detectors.training.swap_data import FaceCrop, alike_clones, clones, launder

Floats = NDArray[np.float64]
Score = Callable[[Sequence[Pixels]], Floats]
Reconstruct = Callable[[Sequence[Pixels]], list[Pixels]]

PROTOCOLS = {"native": ((0.85, 1.0), (75, 96)), "laundered": ((0.55, 0.85), (60, 95))}
"""Resampling scale and JPEG quality, drawn alike for a real crop and the fake made of it."""

ALIKE = "alike"
"""The kind of fake that is laundered by draws of its own: those of the others are as they were without it."""

SHARES = (0.5, 0.2, 0.1, 0.05, 0.01)


@dataclass(frozen=True)
class Scored:
    """Logits of crops that were held out, one row each. label: 1 for fakes; part: the fold that scored it."""

    kind: tuple[str, ...]
    protocol: tuple[str, ...]
    person: tuple[str, ...]
    part: NDArray[np.int64]
    label: NDArray[np.int64]
    logit: Floats

    def swaps(self) -> "Scored":
        """The rows without reconstructions, which put nobody in: they are shown, and nothing is fitted to them."""
        rows = [row for row, kind in enumerate(self.kind) if kind != "reconstruction"]
        kind, protocol, person = (
            tuple(values[row] for row in rows) for values in (self.kind, self.protocol, self.person)
        )
        return Scored(kind, protocol, person, self.part[rows], self.label[rows], self.logit[rows])

    def where(self, kind: str, protocol: str) -> NDArray[np.bool_]:
        return np.asarray((np.array(self.kind) == kind) & (np.array(self.protocol) == protocol))


def fakes(held: Sequence[FaceCrop], reconstruct: Reconstruct | None, seed: int) -> dict[str, list[Pixels]]:
    """One fake of each kind for each crop, in order. Deterministic in `seed`."""
    rng = np.random.default_rng(seed)
    made = {
        "self-blend": [blend(face.pixels, face.pixels, draw(rng))[0] for face in held],
        "clone": [pixels for _, pixels in clones(held, rng)],
    }
    if reconstruct is not None:
        copies = reconstruct([face.pixels for face in held])
        made["reconstruction"] = [
            blend(face.pixels, copy, plain_blend(rng))[0] for face, copy in zip(held, copies, strict=True)
        ]
    made[ALIKE] = [pixels for _, pixels in alike_clones(held)]
    return made


def plain_blend(rng: np.random.Generator) -> Blend:
    """A soft hull over the whole face and nothing else: neither colours, texture nor place change."""
    return Blend(
        shape="hull",
        points=tuple((float(x), float(y)) for x, y in rng.normal(0, 2.0, (len(OUTLINE), 2))),
        elastic=2.0,
        feather=float(rng.uniform(2, 4)),
        opacity=1.0,
        scale=1.0,
        shift=(0.0, 0.0),
        colours=(1.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        texture="none",
        strength=0.0,
        on_source=True,
        seed=int(rng.integers(2**31)),
    )


def score_part(part: int, held: Sequence[FaceCrop], score: Score, reconstruct: Reconstruct | None, seed: int) -> Scored:
    """Score the crops that one fold held out, real and fake, under both protocols."""
    made = fakes(held, reconstruct, seed)
    rows: list[tuple[str, str, str, int]] = []
    crops: list[Pixels] = []
    rng, apart = (np.random.default_rng((seed, number)) for number in (1, 4))
    for protocol, (scales, qualities) in PROTOCOLS.items():
        for kind, fake in made.items():
            for face, other in zip(held, fake, strict=True):
                own = apart if kind == ALIKE else rng
                scale, quality = float(own.uniform(*scales)), int(own.integers(*qualities))
                crops += [launder(face.pixels, scale, quality), launder(other, scale, quality)]
                rows += [(kind, protocol, face.person, 0), (kind, protocol, face.person, 1)]
    kinds, protocols, people, labels = zip(*rows, strict=True)
    return Scored(kinds, protocols, people, np.full(len(rows), part), np.array(labels), score(crops))


@dataclass(frozen=True)
class Reals:
    """Logits of real crops that one fold held out. photos: of photographs' faces as they are, one each.

    laundered: of portraits' and photographs' faces, resampled and saved at random.
    """

    photos: Floats
    laundered: Mapping[str, Floats]

    def negatives(self) -> Floats:
        """What `fpr` is counted on: photographs' faces weigh as much as the portraits, which are more."""
        portraits = self.laundered.get("portrait", np.zeros(0))
        others = np.concatenate([self.photos, self.laundered.get("photo", np.zeros(0))])
        times = max(1, round(len(portraits) / len(others))) if len(others) else 0
        return np.concatenate([portraits, np.tile(others, times)])


def reals_of(held: Sequence[FaceCrop], score: Score, scored: Mapping[str, Scored]) -> Reals:
    """The real crops among what was scored by use, and photographs' faces as a scan sees them."""
    photos = score([face.pixels for face in held if face.use == "photo"])
    return Reals(photos, {use: rows.swaps().logit[rows.swaps().label == 0] for use, rows in scored.items()})


def reached(parts: Sequence[Reals]) -> dict[str, float]:
    """Share of the faces of photographs, as they are, that reach each `fpr` when calibrated on the other folds."""
    stated = []
    for part in parts:
        others = np.concatenate([other.negatives() for other in parts if other is not part])
        calibration = Calibration.fit(probabilities(others), model="", source="", fewest=1)
        stated.append(calibration.fprs(probabilities(part.photos)))
    faces = np.concatenate(stated)
    return {f"{share:g}": round(float((faces <= share).mean()), 4) for share in SHARES} if len(faces) else {}


def joined(parts: Sequence[Scored]) -> Scored:
    """The rows of all folds."""
    return Scored(
        tuple(kind for part in parts for kind in part.kind),
        tuple(protocol for part in parts for protocol in part.protocol),
        tuple(person for part in parts for person in part.person),
        np.concatenate([part.part for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.logit for part in parts]),
    )


def with_interval(measure: Callable[[NDArray[np.intp]], float], people: Sequence[str]) -> list[float]:
    """[value, low, high]: 95 % of draws of people, with all their rows."""
    names = np.array(people)
    low, high = interval(measure, [np.flatnonzero(names == name).tolist() for name in sorted(set(people))])
    return [round(value, 4) for value in (measure(np.arange(len(names))), low, high)]


def figures(scored: Scored) -> list[dict[str, Any]]:
    """AUC and recall at 5 % and 1 % FPR of each kind of fake under each protocol, with their intervals."""
    table = []
    for kind in sorted(set(scored.kind)):
        for protocol in PROTOCOLS:
            chosen = np.flatnonzero(scored.where(kind, protocol))
            labels, logits = scored.label[chosen] == 1, scored.logit[chosen]
            people = [scored.person[row] for row in chosen]
            row: dict[str, Any] = {"kind": kind, "protocol": protocol, "pairs": len(chosen) // 2}
            row["auc"] = with_interval(lambda at, y=labels, s=logits: auc(s[at], y[at]), people)  # type: ignore[misc]
            for share in (0.05, 0.01):
                row[f"recall_at_{share:g}"] = with_interval(
                    lambda at, y=labels, s=logits, f=share: recall_at(s[at], y[at], f),  # type: ignore[misc]
                    people,
                )
            table.append(row)
    return table


@dataclass(frozen=True)
class Logistic:
    """log-odds = slope · logit + offset: the probability of a fake where both classes are equally likely."""

    slope: float
    offset: float

    def probability(self, logits: Floats) -> Floats:
        return probabilities(self.slope * logits + self.offset)


def fit_logistic(labels: NDArray[np.int64], logits: Floats) -> Logistic:
    """Platt's calibration by Newton's method, classes weighted alike. Raises DataError for one class.

    Logits are brought to unit spread first, and the start is flat: a network that is sure of itself would else make the
    first step overshoot for ever.
    """
    auc(logits, labels == 1)
    spread = max(float(np.std(logits)), 1e-6)
    weight = np.where(labels == 1, 0.5 / (labels == 1).mean(), 0.5 / (labels == 0).mean())
    inputs = np.stack([logits / spread, np.ones_like(logits)], axis=1)
    values = np.zeros(2)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ values, -30, 30)))
        gradient = inputs.T @ (weight * (probability - labels)) + 1e-3 * values
        curvature = (inputs * (weight * probability * (1 - probability))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        values = values - np.linalg.solve(curvature, gradient)
    return Logistic(round(float(values[0] / spread), 6), round(float(values[1]), 6))


def cross_fitted(scored: Scored) -> Iterator[tuple[NDArray[np.bool_], Logistic]]:
    """For each fold, its rows and a calibration fitted on the other folds."""
    for number in np.unique(scored.part):
        own = scored.part == number
        yield own, fit_logistic(scored.label[~own], scored.logit[~own])


def cross_fitted_error(scored: Scored) -> float:
    """ECE of probabilities whose calibration has not seen the person."""
    stated = np.zeros(len(scored.logit))
    for own, logistic in cross_fitted(scored):
        stated[own] = logistic.probability(scored.logit[own])
    return calibration_error(stated, scored.label == 1)
