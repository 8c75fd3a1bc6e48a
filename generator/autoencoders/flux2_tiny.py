"""FLUX.2's tiny autoencoder (taef2, MIT) as a mode uses it; its layers are those that the detectors are tested with.

Keys of the two weight files are those of two `Sequential`s; the weights stay where they are and are read from there.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from detectors.training.tiny_autoencoder import decoder, encoder
from generator.errors import ModelError


class Flux2TinyAutoencoder(nn.Module):
    """RGB in [0, 1], sides multiples of 8: (n, 3, h, w) to latents (n, 32, h/8, w/8) and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()

    @classmethod
    def from_folder(cls, folder: Path) -> "Flux2TinyAutoencoder":
        """Loads `taef2_encoder.safetensors` and `taef2_decoder.safetensors`. Raises ModelError."""
        model = cls()
        for half, module in (("encoder", model.encoder), ("decoder", model.decoder)):
            path = folder / f"taef2_{half}.safetensors"
            if not path.is_file():
                raise ModelError(f"no weights at {path}", hint="name the folder that holds taef2_*.safetensors")
            try:
                module.load_state_dict({key: value.float() for key, value in load_file(path).items()})
            except (SafetensorError, RuntimeError) as error:
                raise ModelError(f"{path} is not FLUX.2's tiny {half}: {error}", hint="restore the file") from error
        model.eval().requires_grad_(False)
        return model

    def reconstruct(self, pictures: torch.Tensor) -> torch.Tensor:
        """The round trip, in [0, 1]."""
        restored: torch.Tensor = self.decoder(self.encoder(pictures))
        return restored.clamp(0, 1)
