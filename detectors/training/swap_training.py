"""The whole training of the `swap` detector: a network for each group of people left out, figures, files.

What is served is the mean of these networks: nobody whom it will meet was seen by any of them.
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

from detectors.image import Pixels
from detectors.runtime import Runtime
from detectors.swap import sharpness
from detectors.training import swap_evaluation as evaluation
from detectors.training.swap import Served, SwapConfig, SwapNetwork, SwapRun, logits_of
from detectors.training.swap_data import FaceCrop, digest, folds, network_input, read_faces, without_copies
from detectors.training.swap_export import Made, publish
from detectors.training.swap_photos import crops_of
from detectors.training.tiny_autoencoder import TinyAutoencoder

Progress = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class SwapTraining:
    """What `palisade train swap` was asked for. `steps` None: as many as `SwapConfig` has.

    photos: manifests of photographs whose faces are used beside the folder's; models: where the face detector is.
    """

    faces: Path
    work: Path
    out: Path
    autoencoder: Path | None = None
    steps: int | None = None
    seed: int = 5
    groups: int = 2
    threads: int = 1
    photos: tuple[Path, ...] = ()
    models: Path | None = None

    @property
    def config(self) -> SwapConfig:
        config = SwapConfig(seed=self.seed)
        return replace(config, steps=self.steps) if self.steps else config


def names(groups: int) -> list[str]:
    """The networks of a training: one for each group of people left out."""
    return [f"fold-{number}" for number in range(groups)]


def train(task: SwapTraining, progress: Progress) -> dict[str, Any]:
    """Train, test on people left out, write the model; its card. Raises TrainingError."""
    torch.set_num_threads(task.threads)
    cv2.setNumThreads(task.threads)
    task.work.mkdir(parents=True, exist_ok=True)
    crops = all_crops(task)
    networks, tests = [], []
    reconstruct = reconstructor(task.autoencoder) if task.autoencoder else None
    for number, (kept, held) in enumerate(folds(crops, task.groups)):
        networks.append(network_of(task, kept, f"fold-{number}", progress))
        tests.append(tested(number, held, scorer(Served([networks[-1]]).eval()), reconstruct, task.seed))
    portraits, photographs = ([parts[use] for parts, _ in tests if use in parts] for use in ("portrait", "photo"))
    held_out = evaluation.joined(portraits + photographs)
    reals = evaluation.joined_reals([real for _, real in tests])
    record = {
        **data_record(crops),
        "code_sha256": code_digest(),
        "torch": torch.__version__,
        "groups": task.groups,
        "config": task.config.__dict__,
        "figures": evaluation.figures(evaluation.joined(portraits)),
        "figures_on_photographs": evaluation.figures(evaluation.joined(photographs)) if photographs else [],
        "ece": round(evaluation.cross_fitted_error(held_out), 4),
        "fpr_reached_on_photographs": evaluation.reached(reals),
    }
    logistic = evaluation.fit_logistic(held_out.label, held_out.logit)
    return publish(Made(Served(networks), logistic, reals, record), crops, task.out)


def tested(
    number: int, held: Sequence[FaceCrop], score: evaluation.Score, again: evaluation.Reconstruct | None, seed: int
) -> tuple[dict[str, evaluation.Scored], evaluation.Reals]:
    """What one fold's network says of the people it did not see: by use of the crops, and of the real ones alone.

    Swaps are among portraits, or among photographs; reconstructions are of portraits.
    """
    parts = {}
    for use in ("portrait", "photo"):
        group = [face for face in held if face.use == use]
        if len({face.person for face in group}) > 1:
            parts[use] = evaluation.score_part(number, group, score, again if use == "portrait" else None, seed)
    return parts, evaluation.score_reals(number, held, score, seed)


def data_record(crops: Sequence[FaceCrop]) -> dict[str, Any]:
    """How many crops of how many people a model is made of, by their use, and their digest."""
    uses = Counter(crop.use for crop in crops)
    return {
        "people": len({crop.person for crop in crops if crop.use == "portrait"}),
        "photographs_with_faces": len({crop.person for crop in crops if crop.use == "photo"}),
        "crops": {use: uses[use] for use in sorted(uses)},
        "data_sha256": digest(crops),
    }


def all_crops(task: SwapTraining) -> list[FaceCrop]:
    """The folder's faces, and the crops of the manifests that are as sharp as 99 in 100 of them; no face twice."""
    faces = read_faces(task.faces)
    if task.photos and task.models:
        least = float(np.quantile([sharpness(face.pixels) for face in faces], 0.01))
        crops = crops_of(task.photos, Runtime(task.models), least, task.work / "photos.npz")
        grounds = [crop for crop in crops if crop.use == "ground"]
        return without_copies(faces + [crop for crop in crops if crop.use != "ground"]) + grounds
    return faces


def network_of(task: SwapTraining, faces: Sequence[FaceCrop], name: str, progress: Progress) -> SwapNetwork:
    """A trained network: taken up from its checkpoint, if there is one."""
    run = SwapRun(faces, task.config, task.work / f"{name}.pt")
    run.resume()
    return run.train(lambda step, steps, loss: progress(name, step, steps, loss))


def scorer(network: torch.nn.Module) -> evaluation.Score:
    return lambda crops: logits_of(network, crops)


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
    for name in ("blending.py", "loop.py", "swap.py", "swap_data.py", "swap_pairs.py", "swap_photos.py"):
        running.update((folder / name).read_bytes())
    return running.hexdigest()
