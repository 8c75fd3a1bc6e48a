"""The forensic network: what autoencoders leave in a picture, seen in residuals and their spectrum.

It learns from real crops and their own reconstructions, a pair at a time (`forensic_data`), so that content, size and
compression tell nothing. Every batch is drawn from (seed, step): an interrupted run goes on from its checkpoint.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.image import Pixels
from detectors.training import checkpoints
from detectors.training.errors import TrainingError
from detectors.training.forensic_crops import SIDE
from detectors.training.forensic_data import batch
from detectors.training.swap import Residual

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class ForensicConfig:
    """pairs: of a batch. ranking: weight of the loss that a reconstruction stands above its own real picture.

    smoothing: of the labels. average: of the weights that are served.
    """

    seed: int = 7
    steps: int = 300
    pairs: int = 10
    rate: float = 3e-3
    decay: float = 1e-3
    average: float = 0.97
    ranking: float = 1.0
    smoothing: float = 0.03
    save_every: int = 50


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


class ForensicRun:
    """A training run that can be stopped and taken up again."""

    def __init__(self, pairs: Pairs, config: ForensicConfig, checkpoint: Path) -> None:
        if not pairs.made or len(pairs.real) < 2:
            raise TrainingError("There is nothing to learn from: no autoencoder, or fewer than two pictures.")
        torch.manual_seed(config.seed)
        self.pairs, self.config, self.checkpoint = pairs, config, checkpoint
        self.network = ForensicNetwork().train().to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=config.decay)
        self.step = 0
        self.made_of = {"config": asdict(config), "data": pairs.digest()}

    def resume(self) -> None:
        """Take up the checkpoint where there is one. Raises TrainingError when it is of another run."""
        if not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        checkpoints.check_run(self.checkpoint, state["made_of"], self.made_of)
        for name in ("network", "averaged", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step = int(state["step"])

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "averaged", "optimiser")}
        checkpoints.save(self.checkpoint, {**parts, "step": self.step, "made_of": self.made_of})

    def train(self, progress: Progress | None = None) -> ForensicNetwork:
        """Run to the last step; the averaged network. Raises TrainingError at a loss that is not a number."""
        losses: list[float] = []
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.batch, self.step)
            while self.step < self.config.steps:
                ready, coming = coming.result(), ahead.submit(self.batch, self.step + 1)
                losses.append(self.advance(ready))
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.save()
                    if progress:
                        progress(self.step, self.config.steps, float(np.mean(losses)))
                    losses.clear()
        return self.averaged

    def batch(self, step: int) -> NDArray[np.uint8]:
        """The crops of one step: real ones, then reconstructed ones."""
        config = self.config
        return np.concatenate(
            batch(self.pairs.real, self.pairs.made, self.pairs.groups, config.pairs, (config.seed, step))
        )

    def advance(self, crops: NDArray[np.uint8]) -> float:
        """One step of AdamW along a cosine, after a short warm-up; then the average follows."""
        config, done = self.config, self.step / self.config.steps
        warm = min(1.0, (self.step + 1) / max(1, config.steps // 20))
        self.optimiser.param_groups[0]["lr"] = config.rate * warm * (0.51 + 0.49 * math.cos(math.pi * done))
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # of the dropout
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(self.network, network_input(crops), config)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} at step {self.step}; the last good checkpoint is {self.checkpoint}.",
                hint="Lower the learning rate, or look for broken pixels in the data.",
            )
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self._follow(min(config.average, self.step / (self.step + 10)))
        return float(loss.item())

    @torch.no_grad()
    def _follow(self, keep: float) -> None:
        for kept, current in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(current, 1 - keep)
            else:
                kept.copy_(current)


def network_input(crops: NDArray[np.uint8]) -> Tensor:
    """uint8 (n, SIDE, SIDE, 3) to what the network takes."""
    moved = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
    return (torch.from_numpy(moved).float() / 255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(network: nn.Module, crops: NDArray[np.uint8], at_once: int = 48) -> NDArray[np.float64]:
    """Logits of crops, (n,)."""
    parts = [network(network_input(crops[at : at + at_once])).float() for at in range(0, len(crops), at_once)]
    return torch.cat(parts).double().numpy()
