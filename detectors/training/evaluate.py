"""Honest figures for `synthetic`: left-out families and sources, beside the baselines, with their uncertainty."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.card import Card, verified
from detectors.heads import unit as unit_length
from detectors.runtime import Runtime
from detectors.synthetic import BACKBONE, WEIGHTS
from detectors.training.corpus import Corpus
from detectors.training.data import DataError, View
from detectors.training.datasets import is_dataset
from detectors.training.figures import (
    RESAMPLES,
    Array,
    Flags,
    auc,
    balanced,
    calibration_error,
    probabilities,
    recall_at,
    threshold_at,
)
from detectors.training.holdout import HeldOut, Learner, Scored, Scorer, hold_out
from detectors.training.linear import fit
from detectors.training.synthetic import Choice, Committee, Config, choose, fit_committee, platt

RATES = (0.001, 0.01, 0.05)
PLAIN_STRENGTH = 0.03

Told = Callable[[str], None]


def committee_learner(corpus: Corpus, config: Config, choice: Choice | None, told: Told) -> Learner:
    """The model that ships. Without a choice it is made once for every left-out family or source, without it.

    Families of one site are scored by the same fits: each is made once.
    """
    made: dict[str, Choice] = {}
    fitted: dict[tuple[bytes, Choice], Committee] = {}

    def learn(train: NDArray[np.bool_], left_out: str) -> Scorer:
        if choice is None and left_out not in made:
            kind, name = left_out.split(" ", 1)
            sees = corpus.without_family(name) if kind == "family" else train
            made[left_out] = choose(corpus, sees, config)
            told(f"{left_out} left out: blocks {made[left_out].blocks}, penalty {made[left_out].strength:g}")
        key = (train.tobytes(), choice or made[left_out])
        if key not in fitted:
            fitted[key] = fit_committee(corpus, train, key[1])
        committee = fitted[key]
        return lambda view: committee(corpus.views[view].blocks)

    return learn


def plain_clip_learner(corpus: Corpus) -> Learner:
    """The baseline of the field: logistic regression on the final embedding, scaled to unit length."""
    unit = {view: unit_length(features.embedding) for view, features in corpus.views.items()}

    def learn(train: NDArray[np.bool_], left_out: str) -> Scorer:  # noqa: ARG001 - makes no choice
        seen = {view: train & features.present for view, features in corpus.views.items()}
        rows = np.concatenate([unit[view][mask] for view, mask in seen.items()])
        positive = np.concatenate([corpus.generated[mask] for mask in seen.values()])
        head = fit(rows, positive, balanced(positive), PLAIN_STRENGTH)
        return lambda view: head(unit[view])

    return learn


def metadata_learner(corpus: Corpus, manifests: Sequence[Path]) -> Learner:
    """What the raw files give away without a pixel: their format, size, dimensions and bytes per pixel."""
    rows = _metadata(corpus, manifests)

    def learn(train: NDArray[np.bool_], left_out: str) -> Scorer:  # noqa: ARG001 - makes no choice
        head = fit(rows[train], corpus.generated[train], balanced(corpus.generated[train]), 0.01)
        logits = head(rows)
        return dict.fromkeys(corpus.views, logits).__getitem__

    return learn


def _metadata(corpus: Corpus, manifests: Sequence[Path]) -> Array:
    rows = {row["file"]: row for manifest in manifests for row in _rows(manifest)}
    facts = []
    for example in corpus.examples:
        row = rows[example.file]
        width, height, size = (float(row[name]) for name in ("width", "height", "bytes"))
        stored = row["stored"].upper()
        sides = sorted((np.log(width), np.log(height)))
        facts.append([np.log(size), *sides, np.log(size / width / height), sides[1] - sides[0], width == height,
                      stored.startswith("JPEG"), stored.startswith("PNG"), stored.startswith("WEBP")])  # fmt: skip
    first = np.array(facts, dtype=np.float64)
    return np.concatenate([first, first[:, :5] ** 2], axis=1)


def measure(  # noqa: PLR0917 - each is another thing
    corpus: Corpus,
    manifests: Sequence[Path],
    config: Config,
    choice: Choice | None,
    told: Told,
    previous: Choice | None = None,
) -> dict[str, Any]:
    """The evaluation as JSON values: `synthetic`, `plain_clip` and, where the manifests have the columns, `metadata`.

    previous: the blocks and the penalty that ship, fitted anew in every split; they were chosen on all families, which flatters them.
    """
    learners = {"synthetic": committee_learner(corpus, config, choice, told)}
    if previous is not None:
        learners["previous"] = committee_learner(corpus, config, previous, told)
    learners["plain_clip"] = plain_clip_learner(corpus)
    if all(_has_metadata(manifest) for manifest in manifests):
        learners["metadata"] = metadata_learner(corpus, manifests)
    models = {}
    for name, learner in learners.items():
        told(f"evaluating {name}")
        models[name] = figures(corpus, hold_out(corpus, learner, config.folds, told), config)
    return {
        **_facts(corpus, config),
        "choice": {"blocks": choice.blocks, "strength": choice.strength} if choice else "made inside every split",
        "models": models,
    }


def shipped_choice(folder: Path = WEIGHTS) -> Choice | None:
    """The blocks and the penalty of the shipped model, None where none is there."""
    if not (folder / "synthetic.card.json").is_file():
        return None
    made = Card.read(folder, "synthetic").training["choice"]
    return Choice(tuple(made["blocks"]), made["strength"])


def measure_shipped(corpus: Corpus, config: Config, runtime: Runtime) -> dict[str, Any]:
    """The figures of the served model on images that it must not have been trained on. Raises DataError if it was."""
    card, path = verified(WEIGHTS, "synthetic", runtime, BACKBONE)
    if card.training["data"] == corpus.data:
        raise DataError(f"These images are what {card.identity} was trained on.", hint="Evaluate without --shipped.")
    session = runtime.load(path)
    scores = {view: session.run(["logit"], {"blocks": f.blocks})[0].astype(float) for view, f in corpus.views.items()}

    def shipped(train: NDArray[np.bool_], left_out: str) -> Scorer:  # noqa: ARG001 - was trained elsewhere
        return scores.__getitem__

    held = hold_out(corpus, shipped, config.folds)
    return {
        **_facts(corpus, config),
        "choice": card.training["choice"],
        "models": {card.identity: figures(corpus, held, config, calibrated=True)},
    }


def _facts(corpus: Corpus, config: Config) -> dict[str, Any]:
    return {
        "images": len(corpus.examples),
        "generated": int(corpus.generated.sum()),
        "data": corpus.data,
        "backbone": corpus.model,
        "config": config.as_dict(),
    }


def _has_metadata(manifest: Path) -> bool:
    return not is_dataset(manifest) and {"bytes", "stored", "width", "height"} <= _rows(manifest)[0].keys()


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def figures(corpus: Corpus, held: HeldOut, config: Config, *, calibrated: bool = False) -> dict[str, Any]:
    """For each view with any family: every family, their mean and worst, every source's false positives, the calibration error, curves.

    calibrated: the logits are log-odds already, and are not scaled.
    """
    return {
        str(view): _view(corpus, held, view, config, calibrated=calibrated)
        for view in corpus.views
        if held.within(view)
    }


def _view(corpus: Corpus, held: HeldOut, view: View, config: Config, *, calibrated: bool) -> dict[str, Any]:
    families = held.within(view)
    each = {name: _family(corpus, scored) for name, scored in families.items()}
    areas = [family["auc"] for family in each.values()]
    probability, positive = _probabilities(held, view, config.prevalence, calibrated=calibrated)
    return {
        "mean_auc": float(np.mean(areas)),
        "worst_auc": float(np.min(areas)),
        "mean_auc_interval": _interval(families, lambda scored: auc(scored.logits, scored.positive)),
        **{f"recall_at_{rate:g}": float(np.mean([f[f"recall_at_{rate:g}"] for f in each.values()])) for rate in RATES},
        "recall_at_0.01_interval": _interval(families, lambda s: recall_at(s.logits, s.positive, 0.01)),
        "ece": calibration_error(probability, positive, balanced(positive, config.prevalence)),
        "families": each,
        "sources": _sources(corpus, held, view),
        "new_sources": _new_sources(held, view),
        "errors": {name: _errors(corpus, scored) for name, scored in families.items()},
        "roc": {name: _roc(scored) for name, scored in families.items()},
        "reliability": _reliability(probability, positive, balanced(positive, config.prevalence)),
    }


def _new_sources(held: HeldOut, view: View) -> dict[str, Any]:
    """At the point that 1 % of the real pictures of never-seen sources pass: recall of never-seen families, and the worst source.

    It is the point that `fpr` 0.01 of the shipped calibration stands for.
    """
    unseen = {name: views[view] for name, views in held.sources.items() if len(views[view])}
    if not unseen:
        return {}
    limit = threshold_at(np.concatenate(list(unseen.values())), 0.01)
    shares = {name: float((logits >= limit).mean()) for name, logits in unseen.items()}
    worst = max(shares, key=lambda name: shares[name])
    found = [float((s.logits[s.positive] >= limit).mean()) for s in held.within(view).values()]
    return {"recall": float(np.mean(found)), "worst_source": worst, "worst_fpr": shares[worst]}


def _family(corpus: Corpus, scored: Scored) -> dict[str, Any]:
    generators = sorted({corpus.examples[row].source for row in scored.rows[scored.positive]})
    names = np.array([corpus.examples[row].source for row in scored.rows])
    return {
        "images": int(scored.positive.sum()),
        "auc": auc(scored.logits, scored.positive),
        **{f"recall_at_{rate:g}": recall_at(scored.logits, scored.positive, rate) for rate in RATES},
        "generators": {
            name: {
                "images": int((names == name).sum()),
                "auc": _subset(auc, scored, names == name),
                "recall_at_0.01": _subset(lambda s, p: recall_at(s, p, 0.01), scored, names == name),
            }
            for name in generators
        },
    }


def _subset(figure: Callable[[Array, Flags], float], scored: Scored, members: Flags) -> float:
    rows = ~scored.positive | members
    return figure(scored.logits[rows], scored.positive[rows])


def _interval(families: Mapping[str, Scored], figure: Callable[[Scored], float]) -> list[float]:
    """95 % bootstrap interval of the mean over families: pictures and real images drawn anew, by seed 0."""
    random = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = []
        for scored in families.values():
            sides = [np.flatnonzero(scored.positive), np.flatnonzero(~scored.positive)]
            rows = np.concatenate([random.choice(side, len(side)) for side in sides])
            drawn.append(figure(Scored(scored.logits[rows], scored.positive[rows], scored.rows[rows])))
        means.append(float(np.mean(drawn)))
    return [float(bound) for bound in np.quantile(means, [0.025, 0.975])]


def _sources(corpus: Corpus, held: HeldOut, view: View) -> dict[str, Any]:
    """False positives of each real source at the 1 % point of the others', by models that never saw the source."""
    seen: dict[int, list[float]] = {}
    for scored in held.within(view).values():
        for row, logit in zip(scored.rows[~scored.positive], scored.logits[~scored.positive], strict=True):
            seen.setdefault(int(row), []).append(float(logit))
    within = {row: float(np.mean(logits)) for row, logits in seen.items()}
    pooled = threshold_at(np.array(list(within.values())), 0.01)
    result = {}
    for source, logits in held.sources.items():
        mine = [within[row] for row in within if corpus.examples[row].source == source]
        others = np.array([within[row] for row in within if corpus.examples[row].source != source])
        unseen = logits[view]
        if not mine or not len(unseen):
            continue
        result[source] = {
            "images": len(unseen),
            "fpr_seen": float(np.mean(np.array(mine) >= pooled)),
            "fpr_unseen": float(np.mean(unseen >= (threshold_at(others, 0.01) if len(others) else pooled))),
        }
    return result


def _probabilities(held: HeldOut, view: View, prevalence: float, *, calibrated: bool) -> tuple[Array, Flags]:
    """Probabilities of each left-out family by a scale fitted on the other families, so that none calibrates itself."""
    probability, positive = [], []
    within = held.within(view)
    for name, scored in within.items():
        others = {other: s for other, s in within.items() if other != name} or {name: scored}
        logits, labels = (
            np.concatenate([getattr(s, part) for s in others.values()]) for part in ("logits", "positive")
        )
        families = np.concatenate([np.full(len(s.logits), other) for other, s in others.items()])
        slope, bias = (1.0, 0.0) if calibrated else platt(logits, labels, prevalence, families)
        probability.append(probabilities(slope * scored.logits + bias))
        positive.append(scored.positive)
    return np.concatenate(probability), np.concatenate(positive)


def _errors(corpus: Corpus, scored: Scored, count: int = 5) -> dict[str, list[dict[str, Any]]]:
    """What was misjudged most: real pictures with the highest logits, generated ones with the lowest; file, source, logit."""
    real, made = np.flatnonzero(~scored.positive), np.flatnonzero(scored.positive)
    highest = real[np.argsort(-scored.logits[real])][:count]
    lowest = made[np.argsort(scored.logits[made])][:count]
    sides = {"real": highest, "generated": lowest}
    return {
        side: [
            {"file": example.file, "source": example.source, "logit": round(float(scored.logits[place]), 3)}
            for place in places
            for example in (corpus.examples[scored.rows[place]],)
        ]
        for side, places in sides.items()
    }


def _roc(scored: Scored, points: int = 60) -> list[tuple[float, float]]:
    rates = np.concatenate([[0.0], np.geomspace(1e-3, 1, points)])
    return [(float(rate), recall_at(scored.logits, scored.positive, rate) if rate < 1 else 1.0) for rate in rates]


def _reliability(
    probability: Array, positive: Flags, weights: Array, bins: int = 10
) -> list[tuple[float, float, float]]:
    """For each bin that holds anything: mean probability, share generated, share of the weight."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        if (weight := weights[inside].sum()) > 0:
            mean, share = (float(weights[inside] @ values[inside] / weight) for values in (probability, positive))
            rows.append((mean, share, float(weight / weights.sum())))
    return rows
