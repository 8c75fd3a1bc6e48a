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
from detectors.training.synthetic import Config, choose, fit_committee, platt


def limits(sources: Sequence[str], families: Sequence[str], native: Mapping[str, Any]) -> tuple[str, ...]:
    """What the figures do not say. native: the figures of the native view."""
    unseen = {name: values["fpr_unseen"] for name, values in native["sources"].items()}
    worst = max(unseen, key=lambda name: unseen[name])
    return (
        f"The generated pictures are of {len(families)} families ({', '.join(families)}), made up to 2025 and most of them before "
        "2023; newer generators may be missed.",
        f"The real images are of {len(sources)} sources ({', '.join(sources)}). Other kinds were not measured.",
        "fpr is counted on unseen pictures of those sources and extrapolated below 0.02. On a source that the model never saw it is "
        f"higher: at the 1 % point of the others {np.mean(list(unseen.values())):.0%} on average, and {unseen[worst]:.0%} of {worst}.",
        "Only the centre square is read, at 224 px: what was generated in a small part of a picture is not found.",
        "Never evidence on its own: a picture that is not flagged may be generated, and one that is may be real.",
    )


def train(corpus: Corpus, config: Config, folder: Path, told: Callable[[str], None]) -> Card:
    """Train on the whole corpus and write the model to a folder. Deterministic for the same corpus and config.

    The figures on the card are of models whose blocks and penalty were chosen without the family or source they are
    tested on. The scale from logits to probability is fitted on left-out families, `fpr` on left-out real images.
    """
    everything = np.ones(len(corpus.examples), dtype=bool)
    choice = choose(corpus, everything, config, told)
    held = hold_out(corpus, committee_learner(corpus, config, None, told), config.folds, told)
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
        negatives=probabilities(slope * _negatives(held, corpus) + bias),
        figures={view: _brief(values) for view, values in measured.items()},
        limits=limits(corpus.sources, corpus.families, measured[native]),
    )


def _scale(held: HeldOut, config: Config) -> tuple[float, float]:
    scored = [(family, scored) for family, views in held.families.items() for scored in views.values()]
    logits, positive = (np.concatenate([getattr(s, name) for _, s in scored]) for name in ("logits", "positive"))
    families = np.concatenate([np.full(len(s.logits), family) for family, s in scored])
    return platt(logits, positive, config.prevalence, families)


def _negatives(held: HeldOut, corpus: Corpus) -> Array:
    """One logit for each view of each real image, by models that did not see the image: the mean over the families."""
    negatives = []
    for view, features in corpus.views.items():
        sums = np.zeros(len(corpus.examples))
        for scored in (views[view] for views in held.families.values()):
            sums[scored.rows] += scored.logits / len(held.families)
        negatives.append(sums[~corpus.generated & features.present])
    return np.concatenate(negatives)


def _brief(measured: dict[str, Any]) -> dict[str, Any]:
    """A view's figures without its curves, for the card."""
    return {name: value for name, value in measured.items() if name not in ("roc", "reliability", "errors")}
