"""`synthetic`: is the picture made by a generative model? A committee of linear heads on CLIP's blocks.

Early blocks see textures, late blocks see things. Traces of generation sit between, so each chosen block's class token
gets its own linear discriminant, which shuns the directions in which sources of real pictures differ among themselves; the
committee's logit is their mean. Which blocks, and how strong the penalty, is chosen on families of generators that were left out of the
fit, inside the training data only. The score is a probability at equal odds; `fpr` is calibrated on real images that the
scoring models did not see.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.training.corpus import Corpus
from detectors.training.data import DataError, silent
from detectors.training.figures import Array, Flags, auc, balanced, recall_at
from detectors.training.linear import Linear, discriminate, fit

Told = Callable[[str], None]

FEWEST = 8
"""Pictures of each class below which a left-out family says nothing about a choice."""
SPREAD = (10.0, 1.0)
"""How much more than noise the differences between real sources, and between families of generators, count against a direction."""


@dataclass(frozen=True)
class Config:
    """What is tried. blocks: 1 to 12. strengths: of the penalty. fewest, committee: blocks that vote together, neighbours.

    prevalence: share of generated pictures at which the score is a probability. folds: of the real images, in tests.
    """

    blocks: tuple[int, ...] = (7, 8, 9, 10, 11, 12)
    strengths: tuple[float, ...] = (1.0,)
    fewest: int = 3
    committee: int = 5
    prevalence: float = 0.5
    folds: int = 5

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """What was chosen: the blocks that vote and the strength of the penalty; `inside` is the score it was chosen by."""

    blocks: tuple[int, ...]
    strength: float
    inside: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Committee:
    """One linear head for each block."""

    heads: dict[int, Linear]

    def votes(self, blocks: NDArray[np.float32]) -> Array:
        """The logit of each head, shape (n, heads), of class tokens (n, 12, 768)."""
        return np.stack([head(blocks[:, block - 1]) for block, head in self.heads.items()], axis=1)

    def __call__(self, blocks: NDArray[np.float32]) -> Array:
        """The committee's logit, shape (n,)."""
        return np.asarray(self.votes(blocks).mean(axis=1))


def stacked(
    corpus: Corpus, rows: NDArray[np.bool_], block: int
) -> tuple[NDArray[np.float32], Flags, Array, NDArray[np.str_]]:
    """One block's tokens of all views of the chosen examples, with their labels, weights and groups.

    Both classes weigh the same, and inside a class every group does, so that no generator and no source of photographs speaks for
    all.
    """
    seen = [rows & features.present for features in corpus.views.values()]
    tokens = np.concatenate([f.blocks[s, block - 1] for f, s in zip(corpus.views.values(), seen, strict=True)])
    groups, positive = (np.concatenate([values[s] for s in seen]) for values in (corpus.groups, corpus.generated))
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / counts[place]
    for side in (positive, ~positive):
        weights[side] /= weights[side].sum()
    return tokens, positive, weights, groups


def fit_committee(corpus: Corpus, rows: NDArray[np.bool_], choice: Choice) -> Committee:
    """The heads of a choice, fitted on the examples that `rows` marks."""
    return Committee(
        {
            block: discriminate(*stacked(corpus, rows, block), strength=choice.strength, spread=SPREAD)
            for block in choice.blocks
        }
    )


def choose(corpus: Corpus, rows: NDArray[np.bool_], config: Config, told: Told = silent) -> Choice:
    """The blocks and the penalty that do best on families left out, among the examples that `rows` marks.

    Each family in turn, and a fold of the real images, is scored by heads that saw neither; a committee is judged by the
    mean of AUC and recall at 1 % false positives over the families and views.
    """
    families = [name for name in corpus.families if (rows & corpus.of_family(name)).any()]
    fold = corpus.folds(config.folds)
    splits = []
    for number, family in enumerate(families):
        real_test = ~corpus.generated & (fold % 2 == number % 2)
        train = rows & corpus.without_family(family) & ~real_test
        test = rows & (corpus.of_family(family) | real_test)
        if corpus.generated[train].any():
            splits.append((train, test))
    best = Choice((), 0.0, -1.0)
    for strength in config.strengths:
        votes = [_votes(corpus, train, test, config.blocks, strength) for train, test in splits]
        judges = [vote for split in votes for vote in split]
        if not judges:
            raise DataError(
                f"No family left out has {FEWEST} pictures to choose by.",
                hint="Give at least two families of generators, with more pictures.",
            )
        for chosen in _committees(config):
            judged = float(np.mean([_judge(vote, chosen) for vote in judges]))
            if judged > best.inside + 1e-9:
                best = Choice(chosen, strength, judged)
        told(f"penalty {strength:g}: best so far blocks {best.blocks} at {best.strength:g} ({best.inside:.4f})")
    return best


def _committees(config: Config) -> list[tuple[int, ...]]:
    """Runs of neighbours: few enough that the choice does not follow the noise of the pictures that it is made on."""
    count = len(config.blocks)
    sizes = range(min(config.fewest, count), min(config.committee, count) + 1)
    return [config.blocks[first : first + size] for size in sizes for first in range(count - size + 1)]


def _votes(
    corpus: Corpus, train: NDArray[np.bool_], test: NDArray[np.bool_], blocks: Sequence[int], strength: float
) -> list[tuple[dict[int, Array], Flags]]:
    """For each view with enough examples, the logits of each block's head, and which examples are generated."""
    committee = fit_committee(corpus, train, Choice(tuple(blocks), strength))
    scored = []
    for features in corpus.views.values():
        seen = test & features.present
        if corpus.generated[seen].sum() < FEWEST or (~corpus.generated[seen]).sum() < FEWEST:
            continue
        votes = committee.votes(features.blocks[seen]).T
        scored.append((dict(zip(blocks, votes, strict=True)), corpus.generated[seen]))
    return scored


def _judge(votes: tuple[dict[int, Array], Flags], chosen: tuple[int, ...]) -> float:
    logits, positive = votes
    score = np.asarray(np.mean([logits[block] for block in chosen], axis=0))
    return (auc(score, positive) + recall_at(score, positive, 0.01)) / 2


def platt(
    logits: Array, positive: Flags, prevalence: float, families: NDArray[np.str_] | None = None
) -> tuple[float, float]:
    """Slope and bias that make logits log-odds at a prevalence (Platt 1999), on logits the model was not fitted on.

    families: of each example; then every family of positives weighs the same, so that the easiest does not make all sure.
    """
    weights = balanced(positive, prevalence)
    if families is not None:
        _, place, counts = np.unique(families, return_inverse=True, return_counts=True)
        weights = np.where(positive, 1 / counts[place], weights)
        weights[positive] *= prevalence / weights[positive].sum()
    scale = fit(logits[:, None], positive, weights, 1e-4)
    weight, bias = scale.folded()
    return float(weight[0]), bias
