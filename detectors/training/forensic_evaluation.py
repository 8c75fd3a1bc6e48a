"""What the forensic network is worth: pictures of sources, and autoencoders, that the scoring network never saw.

Sources of real pictures are parted in folds. Each fold's network was trained without its sources and without its
autoencoders, and on no generated picture at all, so every family of generators is left out of it too.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.image import Pixels
from detectors.training.data import Example, View, decode, digest, render, silent
from detectors.training.forensic import Pairs
from detectors.training.forensic_crops import MOST, SIDE, crops
from detectors.training.linear import auc, recall_at

Judge = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""Logits (n,) of crops uint8 (n, SIDE, SIDE, 3)."""

NATIVE = View("native", 0)


def source_folds(groups: Sequence[str], count: int) -> NDArray[np.int64]:
    """The fold of each picture, by its source: sources in order of their names, one after the other."""
    names = sorted(set(groups))
    return np.array([names.index(group) % count for group in groups])


def name_folds(names: Sequence[str], count: int) -> list[list[str]]:
    """The autoencoders that each fold leaves out: every one is left out once."""
    ordered = sorted(names)
    return [ordered[number::count] for number in range(count)]


def score_pictures(judge: Judge, pictures: Sequence[Pixels], most: int = MOST) -> NDArray[np.float64]:
    """The mean logit of each picture's crops, (n,)."""
    return np.array([float(judge(crops(pixels, most)).mean()) for pixels in pictures])


def seen(pixels: Pixels, view: View, key: str) -> Pixels:
    """A crop as a view shows it: the same for a real one and its reconstruction under the same key."""
    return render(PIL.Image.fromarray(pixels), view, key).pixels


def pair_scores(judge: Judge, pairs: Pairs, view: View = NATIVE) -> dict[str, NDArray[np.float64]]:
    """The logits of the real crops (`real`) and of each autoencoder's reconstructions, in a view."""
    keys = [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in pairs.real]
    kinds = {"real": pairs.real, **pairs.made}
    return {
        kind: score_pictures(judge, [seen(pixels, view, key) for pixels, key in zip(held, keys, strict=True)])
        for kind, held in kinds.items()
    }


def against(real: NDArray[np.float64], made: NDArray[np.float64]) -> dict[str, float]:
    """AUC, recall at 1 and 5 % false positives, and how often a reconstruction stands above its own real picture."""
    scores = np.concatenate([real, made])
    positive = np.arange(len(scores)) >= len(real)
    figures = {
        "auc": auc(scores, positive),
        **{f"recall_at_{r:g}": recall_at(scores, positive, r) for r in (0.01, 0.05)},
    }
    return {**figures, "in_order": float((made > real).mean())} if len(real) == len(made) else figures


class ViewCrops:
    """The crops of whole pictures in a view, kept in a folder: uint8 (n, SIDE, SIDE, 3), n at most MOST, of each example."""

    version = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(
        self, examples: Sequence[Example], view: View, progress: Callable[[int, int], None] = silent
    ) -> list[Pixels]:
        """The crops of each example, in their order."""
        result = []
        for number, example in enumerate(examples):
            result.append(self._of(example, view))
            progress(number + 1, len(examples))
        return result

    def _of(self, example: Example, view: View) -> Pixels:
        key = digest(example.path)
        name = hashlib.sha256(f"{self.version}:{key}:{view}:{MOST}:{SIDE}".encode()).hexdigest()
        path = self.folder / f"{name[:32]}.npy"
        if path.is_file():
            held: Pixels = np.load(path, allow_pickle=False)
            return held
        made = crops(render(decode(example.path), view, key).pixels)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as stream:
            np.save(stream, made)
        part.replace(path)
        return made
