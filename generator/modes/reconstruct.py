"""Aligned fakes: a real picture through an autoencoder and back. Same content and size, only the decoder's traces differ.

A detector that learns from such pairs cannot learn content.
"""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import PIL.Image
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from generator.autoencoders.flux2_tiny import Flux2TinyAutoencoder
from generator.errors import ModelError
from generator.modes.base import Made

Kind = Literal["kl", "tiny", "flux2-tiny"]
LARGEST = 1536


class RoundTrip(Protocol):
    """Pictures in [0, 1], shape (n, 3, h, w) with sides that `multiple` divides, to their reconstructions."""

    multiple: int
    name: str

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor: ...


class Diffusers:
    """Round trip of an `AutoencoderKL` (its mean, so deterministic) or an `AutoencoderTiny`."""

    def __init__(self, model: AutoencoderKL | AutoencoderTiny) -> None:
        self.model = model.float().eval().requires_grad_(False)
        self.name = type(model).__name__
        kl = isinstance(model, AutoencoderKL)
        self.multiple = (
            2 ** (len(model.config.block_out_channels) - 1) if kl else 2 ** (len(model.config.num_encoder_blocks) - 1)
        )

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        encoded = self.model.encode(pictures * 2 - 1)
        latents = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        restored: torch.Tensor = self.model.decode(latents).sample
        return (restored / 2 + 0.5).clamp(0, 1)


class Flux2Tiny:
    """Round trip of FLUX.2's tiny autoencoder."""

    multiple = 8
    name = "Flux2TinyAutoencoder"

    def __init__(self, model: Flux2TinyAutoencoder) -> None:
        self.model = model

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.model.reconstruct(pictures)


def load(kind: Kind, folder: Path) -> RoundTrip:
    """The autoencoder of that kind in a local folder (a pipeline's `vae` folder will do). Raises ModelError."""
    if kind == "flux2-tiny":
        return Flux2Tiny(Flux2TinyAutoencoder.from_folder(folder))
    classes = {"kl": AutoencoderKL, "tiny": AutoencoderTiny}
    if kind not in classes:
        raise ModelError(f"no autoencoder is called {kind!r}", hint="use kl, tiny or flux2-tiny")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"no safetensors in {folder}", hint="name an autoencoder's folder in the diffusers layout")
    return Diffusers(classes[kind].from_pretrained(folder, local_files_only=True, use_safetensors=True))


def reconstruct(picture: PIL.Image.Image, autoencoder: RoundTrip, *, parent: str = "") -> Made:
    """The picture through the autoencoder; sides that do not divide are padded by reflection and cut again.

    Raises ModelError for a picture larger than LARGEST on a side: memory grows with its area.
    """
    if max(picture.size) > LARGEST or min(picture.size) < autoencoder.multiple:
        raise ModelError(
            f"a picture of {picture.width}×{picture.height} cannot be reconstructed",
            hint=f"sides must lie between {autoencoder.multiple} and {LARGEST} pixels; resize it first",
        )
    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    down, right = -height % autoencoder.multiple, -width % autoencoder.multiple
    padded = np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="symmetric")
    with torch.no_grad():
        restored = autoencoder(torch.from_numpy(padded.copy()).permute(2, 0, 1)[None].float() / 255)
    made = (restored[0, :, :height, :width] * 255).round().byte().permute(1, 2, 0).numpy()
    return Made(PIL.Image.fromarray(made), "reconstructed", parameters={"autoencoder": autoencoder.name}, parent=parent)
