"""The forensic network: what autoencoders leave in a picture, seen in residuals and their spectrum.

It learns from real crops and their own reconstructions, a pair at a time (`forensic_data`), so that content, size and
compression tell nothing.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.image import Pixels
from detectors.training.errors import TrainingError
from detectors.training.forensic_crops import SIDE
from detectors.training.forensic_data import batch
from detectors.training.loop import Run, Schedule
from detectors.training.swap import Residual


@dataclass(frozen=True)
class ForensicConfig(Schedule):
    """How a network is trained. pairs: of a batch. ranking: weight of the loss that a reconstruction stands above its own real picture.

    smoothing: of the labels.
    """

    seed: int = 7
    steps: int = 300
    horizon: int = 300
    rate: float = 3e-3
    decay: float = 1e-3
    average: float = 0.97
    pairs: int = 10
    ranking: float = 1.0
    smoothing: float = 0.03


class ForensicNetwork(nn.Module):
    """float32 (n, 3, SIDE, SIDE) in [0, 1] → logits (n,).

    Fixed high-pass filters first; what they leave is given as it is and relative to its strength in the crop, so that a
    soft picture is not taken for a made one. Beside it the logarithm of the residual's power spectrum.
    """

    high_pass: Tensor
    waves: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("high_pass", filters())
        cosines, sines = waves()
        self.register_buffer("waves", torch.stack([cosines, sines]))
        window = torch.hann_window(SIDE, periodic=False)
        self.register_buffer("window", torch.outer(window, window))
        self.stem = nn.Sequential(nn.Conv2d(18, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.body = nn.Sequential(Residual(24, 24, 1), Residual(24, 48, 2), Residual(48, 64, 2), Residual(64, 80, 2))
        self.spectrum = nn.Sequential(
            nn.BatchNorm2d(1), nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * 12 * 12, 24), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(2 * 80 + 24, 1)

    def forward(self, crops: Tensor) -> Tensor:
        residuals = F.conv2d(F.pad(crops, (2, 2, 2, 2), mode="replicate"), self.high_pass, groups=3)
        strength = residuals.pow(2).mean(dim=(2, 3), keepdim=True).sqrt() + 2e-3
        relative = residuals / strength
        maps = torch.cat([torch.tanh(residuals * 25), torch.tanh(relative / 2)], dim=1)
        features = self.body(self.stem(maps))
        pooled = [features.mean(dim=(2, 3)), features.pow(2).mean(dim=(2, 3)).add(1e-6).sqrt()]
        spectrum = self.spectrum(self.power(relative[:, 3:4] + relative[:, 0:1] + relative[:, 6:7]))
        logits: Tensor = self.head(torch.cat([*pooled, spectrum], dim=1))[:, 0]
        return logits

    def power(self, residual: Tensor) -> Tensor:
        """Logarithm of the power at SIDE / 2 by SIDE / 2 frequencies, both diagonals together, (n, 1, 48, 48)."""
        windowed = residual * self.window
        cosines, sines = self.waves[0], self.waves[1]
        along_c, along_s = windowed @ cosines.T, windowed @ sines.T
        cc, cs = cosines @ along_c, cosines @ along_s
        sc, ss = sines @ along_c, sines @ along_s
        return torch.log(cc.pow(2) + cs.pow(2) + sc.pow(2) + ss.pow(2) + 1.0)


def filters() -> Tensor:
    """5 × 5 filters for each colour: the pixel less its 3 × 3 mean, and second differences along both sides."""
    made = torch.zeros(3, 5, 5)
    made[0, 1:4, 1:4] -= 1 / 9
    made[0, 2, 2] += 1
    made[1, 2, 1:4] = torch.tensor([-0.5, 1.0, -0.5])
    made[2, 1:4, 2] = torch.tensor([-0.5, 1.0, -0.5])
    return made.repeat(3, 1, 1)[:, None]


def waves() -> tuple[Tensor, Tensor]:
    """Cosines and sines of SIDE / 2 frequencies over SIDE places, (SIDE / 2, SIDE) each."""
    angles = 2 * math.pi * torch.outer(torch.arange(1, SIDE // 2 + 1).double(), torch.arange(SIDE).double()) / SIDE
    return angles.cos().float(), angles.sin().float()


@dataclass(frozen=True)
class Pairs:
    """Real crops, their reconstructions by each autoencoder, and each one's source, in one order."""

    real: Sequence[Pixels]
    made: Mapping[str, Sequence[Pixels]]
    groups: Sequence[str]

    def digest(self) -> str:
        """Of the pixels, the autoencoders and the sources."""
        running = hashlib.sha256("\n".join([*sorted(self.made), *self.groups]).encode())
        for name in sorted(self.made):
            for pixels in self.made[name]:
                running.update(pixels[::8, ::8].tobytes())
        for pixels in self.real:
            running.update(pixels.tobytes())
        return running.hexdigest()

    def only(self, rows: Sequence[int], names: Sequence[str]) -> "Pairs":
        """Some pictures and some autoencoders of them."""
        return Pairs(
            [self.real[row] for row in rows],
            {name: [self.made[name][row] for row in rows] for name in names},
            [self.groups[row] for row in rows],
        )


def loss_of(network: nn.Module, crops: Tensor, config: ForensicConfig) -> Tensor:
    """Cross-entropy of both classes (first half real, second half reconstructed) and the ranking of the pairs."""
    logits = network(crops).float()
    real, made = logits.chunk(2)
    low = config.smoothing / 2
    labels = torch.cat([torch.full_like(real, low), torch.full_like(made, 1 - low)])
    return F.binary_cross_entropy_with_logits(logits, labels) + config.ranking * F.softplus(real - made).mean()


class ForensicRun(Run[ForensicNetwork, NDArray[np.uint8], ForensicConfig]):
    """The training of one network on some pairs."""

    def __init__(self, pairs: Pairs, config: ForensicConfig, checkpoint: Path) -> None:
        if not pairs.made or len(pairs.real) < 2:
            raise TrainingError("There is nothing to learn from: no autoencoder, or fewer than two pictures.")
        self.pairs = pairs
        super().__init__(ForensicNetwork, config, pairs.digest(), checkpoint)

    def batch(self, step: int) -> NDArray[np.uint8]:
        """The crops of one step: real ones, then reconstructed ones."""
        config = self.config
        return np.concatenate(
            batch(self.pairs.real, self.pairs.made, self.pairs.groups, config.pairs, (config.seed, step))
        )

    def loss(self, batch: NDArray[np.uint8]) -> Tensor:
        return loss_of(self.network, network_input(batch).to(self.device), self.config)


def network_input(crops: NDArray[np.uint8]) -> Tensor:
    """uint8 (n, SIDE, SIDE, 3) to what the network takes."""
    moved = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
    return (torch.from_numpy(moved).float() / 255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(network: nn.Module, crops: NDArray[np.uint8], at_once: int = 48) -> NDArray[np.float64]:
    """Logits of crops, (n,)."""
    parts = [network(network_input(crops[at : at + at_once])).float() for at in range(0, len(crops), at_once)]
    return torch.cat(parts).double().numpy()
