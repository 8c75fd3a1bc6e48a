"""Scores of examples by models that never saw their like: the splits that figures rest on.

A *learner* is fitted on some examples and then scores every example in a view. The model that ships, plain CLIP and the
metadata baseline are learners, and go through the same splits.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.training.corpus import Corpus
from detectors.training.data import View, check_split, silent
from detectors.training.figures import Array, Flags

WORKERS = 4
"""Splits that are fitted at the same time; NumPy works outside the interpreter's lock."""

Scorer = Callable[[View], Array]
"""Logits of every example of the corpus in a view, shape (n,)."""

Learner = Callable[[NDArray[np.bool_], str], Scorer]
"""Fits on the examples that a mask marks; the name says what is left out, for choices that are made once for it."""


@dataclass(frozen=True)
class Scored:
    """Logits of a left-out family's pictures and of all real images, with the row of each in the corpus."""

    logits: Array
    positive: Flags
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """families: for each family of generators and view, its pictures and all real images, scored without them.

    sources: for each source and view, the logits of its real images by a model without that source.
    """

    families: dict[str, dict[View, Scored]]
    sources: dict[str, dict[View, Array]]

    def within(self, view: View) -> dict[str, Scored]:
        """The families that have both classes in a view, which is of some of the pictures only."""
        found = {name: views[view] for name, views in self.families.items()}
        return {name: scored for name, scored in found.items() if scored.positive.any() and not scored.positive.all()}


def hold_out(corpus: Corpus, learner: Learner, folds: int, told: Callable[[str], None] = silent) -> HeldOut:
    """Leave-one-family-out (its prompts and sites left out too, real images by folds) and leave-one-source-out."""

    def family(name: str) -> dict[View, Scored]:
        scored = _leave_family(corpus, name, learner, folds)
        told(f"scored {name} without {name}")
        return scored

    def source(name: str) -> dict[View, Array]:
        scored = _leave_source(corpus, name, learner)
        told(f"scored {name} without {name}")
        return scored

    with ThreadPoolExecutor(WORKERS) as pool:
        families = pool.map(family, corpus.families)
        sources = pool.map(source, corpus.sources)
        return HeldOut(
            dict(zip(corpus.families, families, strict=True)), dict(zip(corpus.sources, sources, strict=True))
        )


def _leave_family(corpus: Corpus, family: str, learner: Learner, folds: int) -> dict[View, Scored]:
    """Real images are scored by their own fold's model, the family's pictures by the mean of all folds' models."""
    fold, real = corpus.folds(folds), ~corpus.generated
    positive = corpus.of_family(family)
    scores = {view: np.zeros(len(fold)) for view in corpus.views}
    for number in range(folds):
        held = real & (fold == number)
        train = corpus.without_family(family) & ~held
        check_split(corpus.chosen(train), corpus.chosen(positive | held))
        scorer = learner(train, f"family {family}")
        for view in corpus.views:
            logits = scorer(view)
            scores[view][held] = logits[held]
            scores[view][positive] += logits[positive] / folds
    result = {}
    for view, score in scores.items():
        rows = np.flatnonzero((positive | real) & corpus.views[view].present)
        result[view] = Scored(score[rows], corpus.generated[rows], rows)
    return result


def _leave_source(corpus: Corpus, source: str, learner: Learner) -> dict[View, Array]:
    held = np.array([not example.generated and example.source == source for example in corpus.examples])
    scorer = learner(~held, f"source {source}")
    return {view: scorer(view)[held & features.present] for view, features in corpus.views.items()}
