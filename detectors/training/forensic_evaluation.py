"""What the forensic network is worth: pictures of sources, and autoencoders, that the scoring network never saw.

Sources of real pictures are parted in folds. Each fold's network was trained without its sources and without its
autoencoders, and on no generated picture at all, so every family of generators is left out of it too.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.image import Pixels
from detectors.training.data import View, render
from detectors.training.figures import auc, balanced, recall_at
from detectors.training.forensic import Pairs
from detectors.training.forensic_crops import crops
from detectors.training.linear import fit
from detectors.training.residual_statistics import statistics

Judge = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Logits (n,) of crops uint8 (n, SIDE, SIDE, 3)."""

NATIVE = View("native", 0)

STRENGTH = 0.1
"""Of the baseline's penalty."""


def source_folds(groups: Sequence[str], count: int) -> NDArray[np.int64]:
    """The fold of each picture, by its source: sources in order of their names, one after the other."""
    names = sorted(set(groups))
    return np.array([names.index(group) % count for group in groups])


def name_folds(names: Sequence[str], count: int) -> list[list[str]]:
    """The autoencoders that each fold leaves out: every one is left out once."""
    ordered = sorted(names)
    return [ordered[number::count] for number in range(count)]


def seen(pixels: Pixels, view: View, key: str) -> Pixels:
    """A crop as a view shows it: the same for a real one and its reconstruction under the same key."""
    return render(PIL.Image.fromarray(pixels), view, key).pixels


def pair_views(pairs: Pairs, view: View = NATIVE) -> dict[str, list[Pixels]]:
    """The crops of each real picture (`real`) and of each autoencoder's reconstruction of it, in a view."""
    keys = [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in pairs.real]
    kinds = {"real": pairs.real, **pairs.made}
    return {
        kind: [crops(seen(pixels, view, key)) for pixels, key in zip(held, keys, strict=True)]
        for kind, held in kinds.items()
    }


def pair_scores(judge: Judge, views: Mapping[str, Sequence[Pixels]]) -> dict[str, NDArray[np.float64]]:
    """The mean logit of the crops of each picture, by kind."""
    return {kind: np.array([float(judge(part).mean()) for part in held]) for kind, held in views.items()}


def baseline(
    train: Mapping[str, Sequence[Pixels]], test: Mapping[str, Sequence[Pixels]]
) -> dict[str, NDArray[np.float64]]:
    """What a linear regression on statistics of residuals says of the same views, fitted on others."""
    rows = {kind: np.stack([statistics(part) for part in held]) for kind, held in train.items()}
    positive = np.concatenate([np.full(len(held), kind != "real") for kind, held in rows.items()])
    head = fit(np.concatenate(list(rows.values())), positive, balanced(positive), STRENGTH)
    return {kind: head(np.stack([statistics(part) for part in held])) for kind, held in test.items()}


def against(real: NDArray[np.float64], made: NDArray[np.float64]) -> dict[str, float]:
    """AUC, recall at 1 and 5 % false positives, and how often a reconstruction stands above its own real picture."""
    scores = np.concatenate([real, made])
    positive = np.arange(len(scores)) >= len(real)
    figures = {
        "auc": auc(scores, positive),
        **{f"recall_at_{r:g}": recall_at(scores, positive, r) for r in (0.01, 0.05)},
    }
    return {**figures, "in_order": float((made > real).mean())} if len(real) == len(made) else figures
