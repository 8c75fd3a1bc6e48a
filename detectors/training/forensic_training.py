"""The whole training of the forensic network: autoencoders, pairs, folds, the network on everything, its figures.

Everything is kept in the work folder: an interrupted run goes on where it was.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectors.training.data import DataError, Example, read_manifest
from detectors.training.forensic import ForensicConfig, ForensicNetwork, ForensicRun, Pairs, logits_of
from detectors.training.forensic_evaluation import against, baseline, name_folds, pair_scores, pair_views, source_folds
from detectors.training.reconstructions import (
    DESIGNS,
    Design,
    PairCache,
    RoundTrip,
    diffusers_kl,
    flux2_tiny,
    train_autoencoder,
)

Told = Callable[[str], None]


@dataclass(frozen=True)
class ForensicTraining:
    """What `palisade train forensic` was asked for.

    kl: a folder with an AutoencoderKL; flux2: one with FLUX.2's tiny autoencoder. pictures: at most, sources alike.
    folds: of the sources, and of the autoencoders.
    """

    manifests: tuple[Path, ...]
    work: Path
    kl: Path | None = None
    flux2: Path | None = None
    pictures: int = 480
    folds: int = 3
    threads: int = 1
    config: ForensicConfig = ForensicConfig()  # noqa: RUF009 - frozen
    designs: tuple[Design, ...] = DESIGNS


def real_pictures(manifests: Sequence[Path], most: int) -> list[Example]:
    """At most so many real pictures of the manifests, one of each source in turn, by a digest of their names."""
    real = [example for manifest in manifests for example in read_manifest(manifest) if not example.generated]
    taken: Counter[str] = Counter()
    turns = []
    for example in sorted(real, key=lambda example: hashlib.sha256(example.file.encode()).hexdigest()):
        turns.append((taken[example.source], example.source, example))
        taken[example.source] += 1
    if len(taken) < 2:
        raise DataError(
            f"The real pictures are of {len(taken)} sources.", hint="Two at least: one is left out to test."
        )
    return [example for _, _, example in sorted(turns)[:most]]


def train(task: ForensicTraining, told: Told) -> dict[str, Any]:
    """Train, test on sources and autoencoders left out; the figures, also in `forensic.json`. Raises TrainingError."""
    torch.set_num_threads(task.threads)
    pairs = make_pairs(task, told)
    names, parts = name_folds(list(pairs.made), task.folds), source_folds(pairs.groups, task.folds)
    left_out: dict[str, Any] = {}
    for fold, out in enumerate(names):
        kept, held = (np.flatnonzero(side).tolist() for side in (parts != fold, parts == fold))
        if not (held and out):
            continue
        train_on = pairs.only(kept, [name for name in pairs.made if name not in out])
        network = trained(task, train_on, f"fold-{fold}", told)
        views = pair_views(pairs.only(held, out))
        by_network = pair_scores(lambda crops, network=network: logits_of(network, crops), views)  # type: ignore[misc]
        by_statistics = baseline(pair_views(train_on), views)
        for name in out:
            tested = {"network": by_network, "statistics": by_statistics}
            left_out[name] = {model: against(kinds["real"], kinds[name]) for model, kinds in tested.items()}
    trained(task, pairs, "final", told)
    figures = {
        "pictures": len(pairs.real),
        "data": pairs.digest(),
        "config": asdict(task.config),
        "torch": torch.__version__,
        "left_out": dict(sorted(left_out.items())),
    }
    part = task.work / "forensic.json.part"
    part.write_text(json.dumps(figures, indent=1) + "\n")
    part.replace(task.work / "forensic.json")
    return figures


def make_pairs(task: ForensicTraining, told: Told) -> Pairs:
    """Real crops and their reconstructions by every autoencoder of the task."""
    examples = real_pictures(task.manifests, task.pictures)
    cache = PairCache(task.work / "pairs")
    crops = cache.crops(examples)
    trips: dict[str, Callable[[], RoundTrip]] = {}
    if task.kl:
        trips["kl"] = lambda folder=task.kl: diffusers_kl(folder)  # type: ignore[misc]
    if task.flux2:
        trips["flux2-tiny"] = lambda folder=task.flux2: flux2_tiny(folder)  # type: ignore[misc]
    for design in task.designs:
        path = task.work / "autoencoders" / f"{design.name}.pt"
        trips[design.name] = lambda design=design, path=path: train_autoencoder(design, crops, path)  # type: ignore[misc]
    made = {}
    for name, load in trips.items():
        told(f"reconstructing {len(crops)} crops by {name}")
        made[name] = cache.reconstructions(name, examples, crops, load())
    return Pairs(crops, made, [example.source for example in examples])


def trained(task: ForensicTraining, pairs: Pairs, name: str, told: Told) -> ForensicNetwork:
    """A trained network: taken up from its checkpoint, if there is one."""
    run = ForensicRun(pairs, replace(task.config), task.work / f"{name}.pt")
    run.resume()
    return run.train(lambda step, steps, loss: told(f"{name}: step {step} of {steps}, loss {loss:.3f}"))
