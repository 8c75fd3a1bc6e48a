"""FLUX.2's tiny autoencoder (MIT), to make reconstructions: pictures whose content is real and whose traces are not.

Eight times down to 32 channels and back: residual blocks of three 3 × 3 convolutions, 64 wide, the three innermost of
each half with a normalised side branch.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from detectors.training.errors import TrainingError

WIDTH, LATENT = 64, 32


class Block(nn.Module):
    """Three convolutions beside a shortcut; `pool` is the side branch of the innermost blocks."""

    def __init__(self, side: bool) -> None:
        super().__init__()
        layers = [layer for _ in range(3) for layer in (conv(), nn.ReLU())]
        self.conv = nn.Sequential(*layers[:-1])
        wide = 4 * WIDTH
        self.pool = nn.Sequential(
            nn.Conv2d(WIDTH, wide, 1, bias=False), nn.GroupNorm(4, wide), nn.ReLU(), nn.Conv2d(wide, WIDTH, 1, bias=False)
        ) if side else None  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        if self.pool is not None:
            values = values + self.pool(values)
        return torch.relu(self.conv(values) + values)


class Bounded(nn.Module):
    """Latents pressed into (−3, 3)."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(values / 3) * 3


def conv(inputs: int = WIDTH, outputs: int = WIDTH, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


def blocks(number: int = 3, side: bool = False) -> list[nn.Module]:
    return [Block(side) for _ in range(number)]


def encoder() -> nn.Sequential:
    down = [conv(stride=2, bias=False) for _ in range(3)]
    return nn.Sequential(
        conv(3), *blocks(1), down[0], *blocks(), down[1], *blocks(), down[2], *blocks(side=True), conv(WIDTH, LATENT)
    )


def decoder() -> nn.Sequential:
    up = [(nn.Upsample(scale_factor=2), conv(bias=False)) for _ in range(3)]
    return nn.Sequential(
        Bounded(), conv(LATENT), nn.ReLU(), *blocks(side=True), *up[0], *blocks(), *up[1], *blocks(), *up[2], *blocks(1),
        conv(WIDTH, 3),
    )  # fmt: skip


class TinyAutoencoder(nn.Module):
    """Pictures float32 (n, 3, h, w) in [0, 1], sides divisible by 8, to their reconstructions.

    folder: holds `taef2_encoder.safetensors` and `taef2_decoder.safetensors`. Raises TrainingError without them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()
        for name, part in (("encoder", self.encoder), ("decoder", self.decoder)):
            path = folder / f"taef2_{name}.safetensors"
            try:
                part.load_state_dict({key: value.float() for key, value in load_file(path).items()})
            except (OSError, RuntimeError) as error:
                raise TrainingError(f"{path} cannot be loaded: {error}", hint="Name the folder that has it.") from error
        self.eval()

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(pictures)).clamp(0, 1)
        return result
