"""Autoencoders that copy a picture, to measure whether a copy is told from its original. Needs the `train` extra."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from detectors.training.errors import TrainingError
from detectors.training.robustness import Copy
from detectors.training.tiny_autoencoder import TinyAutoencoder

EMBEDDED = Path(__file__).parents[2] / "generator" / "embedded" / "vae"
FLUX = "taef2_decoder.safetensors"


def copiers(folder: Path | None) -> Mapping[str, Copy]:
    """By name and weights: the embedded model's autoencoder, and FLUX.2's tiny one where `folder` holds its weights.

    A picture's sides must be divisible by 8.
    """
    found: dict[str, Copy] = {}
    if EMBEDDED.is_dir():
        found[f"embedded {_digest(next(iter(sorted(EMBEDDED.glob('*.safetensors')))))}"] = _diffusers(EMBEDDED)
    if folder and (folder / FLUX).is_file():
        found[f"FLUX.2 tiny {_digest(folder / FLUX)}"] = _through(TinyAutoencoder(folder))
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _through(network: Callable[[torch.Tensor], torch.Tensor]) -> Copy:
    def copy(picture: PIL.Image.Image) -> PIL.Image.Image:
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None]
        with torch.no_grad():
            made = network(pixels)[0].permute(1, 2, 0).clamp(0, 1).numpy()
        return PIL.Image.fromarray((made * 255).round().astype(np.uint8))

    return copy


def _diffusers(folder: Path) -> Copy:
    """An AutoencoderKL in diffusers' format, its latents' mean decoded. Raises TrainingError."""
    from diffusers import AutoencoderKL  # noqa: PLC0415 - takes seconds to import

    try:
        network = AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise TrainingError(f"The autoencoder in {folder} cannot be loaded: {error}") from error

    def through(pixels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = network.decode(network.encode(pixels * 2 - 1).latent_dist.mean).sample
        return made / 2 + 0.5

    return _through(through)
