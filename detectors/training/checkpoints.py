"""Checkpoints of training runs: written whole, and taken up by the run that made them only."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from detectors.training.errors import TrainingError


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole, or leave the one before. Its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    torch.save(dict(state), part)
    part.replace(path)


def check_run(path: Path, found: Any, wanted: Any) -> None:
    """Raises TrainingError where what a checkpoint was made of is not what this run is made of."""
    if found != wanted:
        raise TrainingError(
            f"The checkpoint {path} is of a run with another config or other data.",
            hint="Name another work folder, or delete it to start again.",
        )
