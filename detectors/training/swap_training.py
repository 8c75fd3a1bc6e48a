"""The whole training of the `swap` detector: folds, the network that is served, figures, files."""

import hashlib
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
from detectors.training.swap import Run, SwapConfig, SwapNetwork, logits_of
from detectors.training.swap_data import FaceCrop, digest, folds, network_input, read_faces, without_copies
from detectors.training.swap_export import Made, publish
from detectors.training.swap_photos import faces_of
from detectors.training.tiny_autoencoder import TinyAutoencoder

Progress = Callable[[str, int, int, float], None]

FINAL = "final"


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
    """The networks of a training: one for each group of people left out, then the one on everybody."""
    return [*(f"fold-{number}" for number in range(groups)), FINAL]


def train(task: SwapTraining, progress: Progress) -> dict[str, Any]:
    """Train, test on people left out, write the model; its card. Raises TrainingError."""
    torch.set_num_threads(task.threads)
    cv2.setNumThreads(task.threads)
    faces = all_faces(task)
    parts = folds(faces, task.groups)
    task.work.mkdir(parents=True, exist_ok=True)
    reconstruct = reconstructor(task.autoencoder) if task.autoencoder else None
    tested = []
    for number, (kept, held) in enumerate(parts):
        network = network_of(task, kept, f"fold-{number}", progress)
        tested.append(evaluation.score_part(number, held, scorer(network), reconstruct, task.seed))
    held_out = evaluation.joined(tested)
    record = {
        "people": len({face.person for face in faces}),
        "crops": len(faces),
        "data_sha256": digest(faces),
        "code_sha256": code_digest(),
        "torch": torch.__version__,
        "groups": task.groups,
        "config": task.config.__dict__,
        "figures": evaluation.figures(held_out),
        "ece": round(evaluation.cross_fitted_error(held_out), 4),
    }
    logistic = evaluation.fit_logistic(held_out.label, held_out.logit)
    return publish(Made(network_of(task, faces, FINAL, progress), logistic, held_out, record), faces, task.out)


def all_faces(task: SwapTraining) -> list[FaceCrop]:
    """The folder's faces, and those of the photographs that are as sharp as 99 in 100 of them; copies dropped."""
    faces = read_faces(task.faces)
    if task.photos and task.models:
        least = float(np.quantile([sharpness(face.pixels) for face in faces], 0.01))
        faces += faces_of(task.photos, Runtime(task.models), least)
    return without_copies(faces)


def network_of(task: SwapTraining, faces: Sequence[FaceCrop], name: str, progress: Progress) -> SwapNetwork:
    """A trained network: taken up from its checkpoint, if there is one."""
    run = Run(faces, task.config, task.work / f"{name}.pt")
    run.resume()
    return run.train(lambda step, steps, loss: progress(name, step, steps, loss))


def scorer(network: SwapNetwork) -> evaluation.Score:
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
    for name in ("blending.py", "swap_data.py", "swap.py"):
        running.update((folder / name).read_bytes())
    return running.hexdigest()
