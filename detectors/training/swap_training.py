"""The whole training of the `swap` detector: networks, heads on CLIP's tokens, figures, files.

People are split into groups. For each group there are a network and a head that have not seen it, which say what is
known of other people; a third network and a head on everybody are served.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from detectors.embedding import EmbeddingDetector
from detectors.image import Pixels
from detectors.runtime import Runtime
from detectors.swap import sharpness
from detectors.training import linear, swap_head
from detectors.training import swap_evaluation as evaluation
from detectors.training.errors import TrainingError
from detectors.training.features import FeatureCache
from detectors.training.swap import SwapConfig, SwapNetwork, SwapRun, logits_of
from detectors.training.swap_data import FaceCrop, digest, folds, network_input, read_faces, without_copies
from detectors.training.swap_export import Made, publish
from detectors.training.swap_head import Pairs, Served
from detectors.training.swap_photos import faces_in
from detectors.training.tiny_autoencoder import TinyAutoencoder

Progress = Callable[[str, int, int, float | None], None]
"""Called with what is being done, how much of it, how much there is, and the loss where there is one."""

FINAL, TOKENS = "final", "CLIP's tokens"

FEWEST_FACES = 50
"""Faces that are tested on, at least: with fewer there is nothing to calibrate on."""

DRAWS = 1
"""Blends of each face that the head learns from."""


@dataclass(frozen=True)
class SwapTraining:
    """What `palisade train swap` was asked for. `steps` None: as many as `SwapConfig` has.

    runtime: of the prepared models, of which CLIP is needed, and the face detector for `photos`: manifests of pictures
    whose faces are used beside the folder's.
    """

    faces: Path
    work: Path
    out: Path
    runtime: Runtime
    autoencoder: Path | None = None
    steps: int | None = None
    seed: int = 5
    groups: int = 2
    photos: tuple[Path, ...] = ()

    @property
    def config(self) -> SwapConfig:
        config = SwapConfig(seed=self.seed)
        return replace(config, steps=self.steps) if self.steps else config


@dataclass(frozen=True)
class Part:
    """A group of people who are left out together.

    network: trained on the portraits of the others; held: portraits and photographs of the group; pairs: made of them.
    """

    network: SwapNetwork
    held: list[FaceCrop]
    pairs: Pairs


def names(groups: int) -> list[str]:
    """What is worked on: a network for each group of people left out, the one on everybody, CLIP's tokens."""
    return [*(f"fold-{number}" for number in range(groups)), FINAL, TOKENS]


def train(task: SwapTraining, progress: Progress) -> dict[str, Any]:
    """Train, test on people left out, write the model; its card. Raises TrainingError, DataError and ModelError."""
    torch.set_num_threads(task.runtime.threads)
    cv2.setNumThreads(task.runtime.threads)
    faces = all_faces(task)
    cache = FeatureCache(task.work / "tokens", EmbeddingDetector(task.runtime))
    parts = parted(task, faces, cache, progress)
    final = network_of(task, [face for face in faces if face.use == "portrait"], FINAL, progress)
    made = pairs_of(task, [face for face in faces if face.use == "made"], cache, progress)
    heads = [swap_head.fit([made, *(other.pairs for other in parts if other is not part)]) for part in parts]
    answers = [unseen(part, head) for part, head in zip(parts, heads, strict=True)]
    tests = []
    for number, (part, head) in enumerate(zip(parts, heads, strict=True)):
        weighed = weigh([answer for other, answer in enumerate(answers) if other != number])
        tests.append(tested(task, number, part, scorer(cache, part.network, head, weighed)))
    served = Served(final, swap_head.fit([made, *(part.pairs for part in parts)]), weigh(answers))
    return written(task, faces, served, tests)


def parted(task: SwapTraining, faces: Sequence[FaceCrop], cache: FeatureCache, progress: Progress) -> list[Part]:
    """The groups of people: portraits and photographs are split apart, so that each group has some of both."""
    split = [folds([face for face in faces if face.use == use], task.groups) for use in sorted(tested_uses(faces))]
    parts = []
    for number, groups in enumerate(zip(*split, strict=True)):
        portraits = [face for kept, _ in groups for face in kept if face.use == "portrait"]
        held = [face for _, group in groups for face in group]
        network = network_of(task, portraits, f"fold-{number}", progress)
        parts.append(Part(network, held, pairs_of(task, held, cache, progress)))
    return parts


def tested_uses(faces: Sequence[FaceCrop]) -> set[str]:
    return {face.use for face in faces if face.use != "made"}


def pairs_of(task: SwapTraining, faces: Sequence[FaceCrop], cache: FeatureCache, progress: Progress) -> Pairs:
    return swap_head.make_pairs(cache, faces, DRAWS, task.seed, lambda done, of: progress(TOKENS, done, of, None))


def unseen(part: Part, head: linear.Linear) -> tuple[evaluation.Floats, evaluation.Floats, Pairs]:
    """What the network and the head say of a part's pairs, which neither has seen."""
    return logits_of(part.network, part.pairs.crops), head(part.pairs.tokens), part.pairs


def weigh(answers: Sequence[tuple[evaluation.Floats, evaluation.Floats, Pairs]]) -> linear.Linear:
    networks, heads, pairs = zip(*answers, strict=True)
    blended = np.concatenate([pair.blended for pair in pairs])
    return swap_head.weigh(np.concatenate(networks), np.concatenate(heads), blended)


def scorer(cache: FeatureCache, network: SwapNetwork, head: linear.Linear, weighed: linear.Linear) -> evaluation.Score:
    return lambda crops: weighed(np.stack([logits_of(network, crops), head(swap_head.tokens(cache, crops))], axis=1))


def tested(
    task: SwapTraining, number: int, part: Part, score: evaluation.Score
) -> tuple[dict[str, evaluation.Scored], evaluation.Reals]:
    """What is said of people who were left out: by use of the faces, and of the real ones alone.

    Swaps are among portraits, or among photographs; reconstructions are of portraits.
    """
    again = reconstructor(task.autoencoder) if task.autoencoder else None
    scored = {}
    for use in sorted(tested_uses(part.held)):
        group = [face for face in part.held if face.use == use]
        if len({face.person for face in group}) > 1:
            remade = again if use == "portrait" else None
            scored[use] = evaluation.score_part(number, group, score, remade, task.seed)
    return scored, evaluation.reals_of(part.held, score, scored)


def written(
    task: SwapTraining,
    faces: Sequence[FaceCrop],
    served: Served,
    tests: Sequence[tuple[dict[str, evaluation.Scored], evaluation.Reals]],
) -> dict[str, Any]:
    """The model's files; its card."""
    by_use = {
        use: evaluation.joined([scored[use] for scored, _ in tests if use in scored])
        for use in sorted({use for scored, _ in tests for use in scored})
    }
    held_out = evaluation.joined(list(by_use.values())).swaps()
    reals = [real for _, real in tests]
    record = {
        **data_record(faces),
        "backbone": task.runtime.identity("clip_vit_b16"),
        "code_sha256": code_digest(),
        "torch": torch.__version__,
        "groups": task.groups,
        "config": task.config.__dict__,
        "head": {"blocks": list(swap_head.BLOCKS), "strength": swap_head.STRENGTH, "draws": DRAWS},
        "figures": evaluation.figures(by_use["portrait"]),
        "figures_on_photographs": evaluation.figures(by_use["photo"]) if "photo" in by_use else [],
        "ece": round(evaluation.cross_fitted_error(held_out), 4),
        "fpr_reached_on_photographs": evaluation.reached(reals),
    }
    return publish(
        Made(served, evaluation.fit_logistic(held_out.label, held_out.logit), reals, record), faces, task.out
    )


def data_record(faces: Sequence[FaceCrop]) -> dict[str, Any]:
    """How many faces of how many people a model is made of, by their use, and their digest."""
    uses = Counter(face.use for face in faces)
    return {
        "people": len({face.person for face in faces if face.use == "portrait"}),
        "photographs_with_faces": len({face.person for face in faces if face.use == "photo"}),
        "crops": {use: uses[use] for use in sorted(uses)},
        "data_sha256": digest(faces),
    }


def all_faces(task: SwapTraining) -> list[FaceCrop]:
    """The folder's faces, and those of the manifests that are as sharp as 99 in 100 of them; copies dropped.

    Raises TrainingError for too few.
    """
    faces = read_faces(task.faces)
    if task.photos:
        least = float(np.quantile([sharpness(face.pixels) for face in faces], 0.01))
        faces += faces_in(task.photos, task.runtime, least, task.work / "photos.npz")
    faces = without_copies(faces)
    if (found := sum(face.use != "made" for face in faces)) < FEWEST_FACES:
        raise TrainingError(
            f"{task.faces} and the photographs have {found} faces; {FEWEST_FACES} are needed to calibrate on.",
            hint="Add crops, or name manifests of photographs.",
        )
    return faces


def network_of(task: SwapTraining, faces: Sequence[FaceCrop], name: str, progress: Progress) -> SwapNetwork:
    """A trained network: taken up from its checkpoint, if there is one."""
    run = SwapRun(faces, task.config, task.work / f"{name}.pt")
    run.resume()
    return run.train(lambda step, steps, loss: progress(name, step, steps, loss))


def reconstructor(folder: Path) -> evaluation.Reconstruct:
    """Pictures through the autoencoder of a folder."""
    model = TinyAutoencoder(folder)

    def reconstruct(crops: Sequence[Pixels]) -> list[Pixels]:
        parts = [model(torch.from_numpy(network_input([crop])))[0].numpy() for crop in crops]
        return [np.rint(part.transpose(1, 2, 0) * 255).astype(np.uint8) for part in parts]

    return reconstruct


def code_digest() -> str:
    """SHA-256 of the code that decides what is learnt."""
    folder = Path(__file__).parent
    running = hashlib.sha256()
    for name in ("blending.py", "loop.py", "swap.py", "swap_data.py", "swap_head.py", "swap_photos.py"):
        running.update((folder / name).read_bytes())
    return running.hexdigest()
