"""What `palisade train synthetic` does: choose, fit on everything, calibrate on held-out scores, write."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.card import Card
from detectors.training import export
from detectors.training.corpus import Corpus
from detectors.training.evaluate import committee_learner, figures
from detectors.training.figures import Array, probabilities
from detectors.training.holdout import HeldOut, hold_out
from detectors.training.synthetic import Choice, Config, choose, fit_committee, platt


def limits(sources: Sequence[str], families: Sequence[str], native: Mapping[str, Any]) -> tuple[str, ...]:
    """What the figures do not say. native: the figures of the native view."""
    new = native["new_sources"]
    return (
        f"The generated pictures are of {len(families)} families ({', '.join(families)}), few of each but the oldest, most of them "
        "small; generators that are not among them may be missed.",
        f"The real images are of {len(sources)} sources ({', '.join(sources)}). Other kinds were not measured.",
        "fpr is counted on real images of sources that the scoring model never saw, and extrapolated below 0.02. Sources differ: at 0.01 "
        f"it was {new['worst_fpr']:.1%} of {new['worst_source']}. Recall of unseen families there was {new['recall']:.0%}.",
        "Only the centre square is read, at 224 px: what was generated in a small part of a picture is not found.",
        "Never evidence on its own: a picture that is not flagged may be generated, and one that is may be real.",
    )


def train(
    corpus: Corpus, config: Config, folder: Path, told: Callable[[str], None], choice: Choice | None = None
) -> Card:
    """Train on the whole corpus and write the model to a folder. Deterministic for the same corpus and config.

    choice: of blocks and penalty; without it, it is made on all families. The figures on the card are of models with that choice, fitted
    without the family or source they are tested on (`palisade evaluate` makes the choice anew in every split too). The scale from logits
    to probability is fitted on left-out families, `fpr` on real images of left-out sources.
    """
    everything = np.ones(len(corpus.examples), dtype=bool)
    choice = choice or choose(corpus, everything, config, told)
    held = hold_out(corpus, committee_learner(corpus, config, choice, told), config.folds, told)
    slope, bias = _scale(held, config)
    told(f"fitting blocks {choice.blocks} at penalty {choice.strength:g} on all {len(corpus.examples)} images")
    committee = fit_committee(corpus, everything, choice)
    measured = figures(corpus, held, config)
    native = next(view for view in measured if view.startswith("native"))
    return export.write(
        folder,
        corpus,
        committee,
        (slope, bias),
        choice=choice,
        config=config,
        negatives=probabilities(slope * _negatives(held) + bias),
        figures={view: _brief(values) for view, values in measured.items()},
        limits=limits(corpus.sources, corpus.families, measured[native]),
    )


def _scale(held: HeldOut, config: Config) -> tuple[float, float]:
    scored = [(family, scored) for family, views in held.families.items() for scored in views.values()]
    logits, positive = (np.concatenate([getattr(s, name) for _, s in scored]) for name in ("logits", "positive"))
    families = np.concatenate([np.full(len(s.logits), family) for family, s in scored])
    return platt(logits, positive, config.prevalence, families)


def _negatives(held: HeldOut) -> Array:
    """One logit for each view of each real image, by a model that saw nothing of its source: what a host's uploads are."""
    return np.concatenate([logits for views in held.sources.values() for logits in views.values()])


def _brief(measured: dict[str, Any]) -> dict[str, Any]:
    """A view's figures without its curves, for the card."""
    return {name: value for name, value in measured.items() if name not in ("roc", "reliability", "errors")}
