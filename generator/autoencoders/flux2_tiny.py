"""FLUX.2's tiny autoencoder (taef2, MIT): 8× down to 32 channels, residual blocks of 64, all convolutions.

Keys of the two weight files are those of two `Sequential`s; the weights stay where they are and are read from there.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from generator.errors import ModelError

WIDTH, LATENTS = 64, 32


class Clamp(nn.Module):
    """Bounds latents softly to (-3, 3)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three 3×3 convolutions around a skip; inner blocks add a 1×1 side branch to their input first."""

    def __init__(self, *, inner: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool = _side_branch() if inner else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def _side_branch() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
        nn.GroupNorm(4, 4 * WIDTH),
        nn.ReLU(),
        nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
    )


def _halve() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def _double() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]


def _blocks(count: int, *, inner: bool = False) -> list[nn.Module]:
    return [Block(inner=inner) for _ in range(count)]


class Flux2TinyAutoencoder(nn.Module):
    """RGB in [0, 1], sides multiples of 8: (n, 3, h, w) to latents (n, 32, h/8, w/8) and back."""

    def __init__(self) -> None:
        super().__init__()
        first, last = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, LATENTS, 3, padding=1)
        outer = [first, *_blocks(1), _halve(), *_blocks(3), _halve(), *_blocks(3), _halve()]
        self.encoder = nn.Sequential(*outer, *_blocks(3, inner=True), last)
        head: list[nn.Module] = [Clamp(), nn.Conv2d(LATENTS, WIDTH, 3, padding=1), nn.ReLU(), *_blocks(3, inner=True)]
        tail = [*_double(), *_blocks(3), *_double(), *_blocks(3), *_double(), *_blocks(1)]
        self.decoder = nn.Sequential(*head, *tail, nn.Conv2d(WIDTH, 3, 3, padding=1))

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
