"""What a laundering step costs, and whether a copy by an autoencoder is told from its original.

Pictures that the scoring models had not seen: of each family in turn by models without it, and the real images of one fold by
models without that fold. Each step is applied to both classes alike, on top of nothing else.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from detectors.image import Frame
from detectors.training.corpus import Corpus
from detectors.training.data import Example, decode, digest, silent
from detectors.training.features import BLOCKS, WIDTH, FeatureCache
from detectors.training.figures import Array, auc, recall_at
from detectors.training.synthetic import Choice, Committee, fit_committee

Picture = PIL.Image.Image
Told = Callable[[str], None]
Copy = Callable[[Picture], Picture]
"""A picture through an autoencoder and back, at the same size."""

LARGEST = 1024
"""Longest side before a step, as hosts keep pictures."""
COPIED = 320
"""Longest side of a picture that is copied, in pixels."""
TEST_FOLD = 0


def _saved(form: str, quality: int) -> Copy:
    def step(picture: Picture) -> Picture:
        with io.BytesIO() as buffer:
            picture.save(buffer, format=form, quality=quality)
            return PIL.Image.open(buffer).convert("RGB")

    return step


def _resized(factor: float) -> Copy:
    def step(picture: Picture) -> Picture:
        size = (max(16, round(picture.width * factor)), max(16, round(picture.height * factor)))
        return picture.resize(size, PIL.Image.Resampling.BICUBIC)

    return step


def _cropped(share: float) -> Copy:
    def step(picture: Picture) -> Picture:
        width, height = (round(side * share) for side in picture.size)
        left, top = (picture.width - width) // 3, (picture.height - height) // 3
        return picture.crop((left, top, left + width, top + height))

    return step


def _screenshot(picture: Picture) -> Picture:
    """On a page with margins and a bar, at another size."""
    shown = picture.resize((round(picture.width * 0.87), round(picture.height * 0.87)), PIL.Image.Resampling.BILINEAR)
    page = PIL.Image.new("RGB", (shown.width + 24, shown.height + 48), (244, 244, 246))
    page.paste((52, 58, 70), (0, 0, page.width, 28))
    page.paste(shown, (12, 36))
    return page


STEPS: Mapping[str, Copy] = {
    "as it is": lambda picture: picture,
    **{f"JPEG {quality}": _saved("JPEG", quality) for quality in (95, 80, 65, 50)},
    **{f"WebP {quality}": _saved("WEBP", quality) for quality in (80, 50)},
    **{f"resized to {factor}": _resized(factor) for factor in (0.75, 0.5, 0.35)},
    "cropped to 0.7": _cropped(0.7),
    "blurred, 1 px": lambda picture: picture.filter(PIL.ImageFilter.GaussianBlur(1)),
    "sharpened": lambda picture: picture.filter(PIL.ImageFilter.UnsharpMask(2, 120, 2)),
    "screenshot": _screenshot,
}
"""By name, what is done to a picture."""


@dataclass(frozen=True)
class Sample:
    """Some of the corpus's pictures that no model which scores them has seen: rows of generated ones by family, and of real ones."""

    families: Mapping[str, Sequence[int]]
    real: Sequence[int]


def sample(corpus: Corpus, count: int, folds: int) -> Sample:
    """`count` generated pictures, spread over the families, and `count` real ones of one fold, spread over the sources."""
    fold = corpus.folds(folds)
    names = corpus.families
    families = {name: _spread(np.flatnonzero(corpus.of_family(name)), -(-count // len(names))) for name in names}
    real = np.flatnonzero(~corpus.generated & (fold == TEST_FOLD))
    return Sample(families, _spread(real, count))


def _spread(rows: NDArray[np.intp], count: int) -> list[int]:
    step = max(1.0, len(rows) / count)
    return [int(rows[int(number * step)]) for number in range(min(count, len(rows)))]


@dataclass(frozen=True)
class Trial:
    """A sample with what scores it: for each family, a committee without the family, its prompts and the real test fold."""

    corpus: Corpus
    cache: FeatureCache
    chosen: Sample
    committees: Mapping[str, Committee]
    told: Told = silent

    @classmethod
    def of(
        cls, corpus: Corpus, cache: FeatureCache, choice: Choice, *, count: int, folds: int, told: Told = silent
    ) -> "Trial":
        """`count` pictures of each class, and the committees of a choice."""
        held = ~corpus.generated & (corpus.folds(folds) == TEST_FOLD)
        committees = {
            name: fit_committee(corpus, corpus.without_family(name) & ~held, choice) for name in corpus.families
        }
        return cls(corpus, cache, sample(corpus, count, folds), committees, told)

    def laundering(self) -> list[dict[str, Any]]:
        """For each step, AUC and recall at 5 % false positives, means over the families."""
        return [{"step": name, **self._step(name, step)} for name, step in STEPS.items()]

    def _step(self, name: str, step: Copy) -> dict[str, float]:
        self.told(f"laundering: {name}")
        real = self._tokens(self.chosen.real, name, step)
        areas, recalls = [], []
        for family, committee in self.committees.items():
            made, honest = committee(self._tokens(self.chosen.families[family], name, step)), committee(real)
            scores = np.concatenate([made, honest])
            positive = np.arange(len(scores)) < len(made)
            areas.append(auc(scores, positive))
            recalls.append(recall_at(scores, positive, 0.05))
        return {"auc": float(np.mean(areas)), "recall_at_0.05": float(np.mean(recalls))}

    def reconstruction(self, copy: Copy, name: str) -> dict[str, Any]:
        """AUC of real images against their own copies, both saved alike after; in how many pairs the copy scores higher.

        name: of the autoencoder and its weights, for the cache.
        """
        self.told(f"copies of {name}")
        before = self._mean(self._tokens(self.chosen.real, "bounded", _then_saved(_bounded)))
        copied = self._tokens(self.chosen.real, f"copy {name}", _then_saved(lambda picture: copy(_bounded(picture))))
        after = self._mean(copied)
        scores = np.concatenate([after, before])
        return {
            "decoder": name,
            "pairs": len(before),
            "auc": auc(scores, np.arange(len(scores)) < len(after)),
            "copy_scores_higher": float((after > before).mean()),
        }

    def _mean(self, tokens: NDArray[np.float32]) -> Array:
        return np.asarray(np.mean([committee(tokens) for committee in self.committees.values()], axis=0))

    def _tokens(self, rows: Sequence[int], name: str, step: Copy) -> NDArray[np.float32]:
        tokens = np.zeros((len(rows), BLOCKS, WIDTH), dtype=np.float32)
        for place, row in enumerate(rows):
            example = self.corpus.examples[row]
            made = partial(_made, example, step)
            tokens[place] = self.cache.of(f"{digest(example.path)}:{name}", made)[0]
        return tokens


def _bounded(picture: Picture, longest: int = COPIED) -> Picture:
    factor = min(1.0, longest / max(picture.size))
    size = (max(16, round(picture.width * factor) // 8 * 8), max(16, round(picture.height * factor) // 8 * 8))
    return picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _then_saved(how: Copy) -> Copy:
    return lambda picture: _saved("JPEG", 90)(how(picture))


def _made(example: Example, step: Copy) -> Frame:
    picture = decode(example.path)
    factor = min(1.0, LARGEST / max(picture.size))
    if factor < 1:
        picture = picture.resize(
            (round(picture.width * factor), round(picture.height * factor)), PIL.Image.Resampling.LANCZOS
        )
    return Frame(0, np.ascontiguousarray(np.asarray(step(picture))))
