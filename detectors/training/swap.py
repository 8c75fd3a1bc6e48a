"""The `swap` detector's network: what it is, and how it is trained.

A small residual network looks at an aligned face crop and says whether a face was blended into it, and where. It learns
from real faces and self-blended copies of the same faces (`blending.py`), a pair at a time, so that neither person,
content, resampling nor compression tells the classes apart. Every batch is drawn from (seed, step): a run that was
interrupted goes on from its checkpoint to the same end.
"""

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.training.errors import TrainingError
from detectors.training.swap_data import Batch, FaceCrop, batch, digest, network_input

Progress = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the mean loss since the last call."""


@dataclass(frozen=True)
class SwapConfig:
    """How a network is trained. pairs: real crops of a batch, each with its blend; map_weight: of the loss on where.

    horizon: steps of the cosine along which the rate falls; the average of the last steps stands for its end.
    hard_from: step from which most blends leave few traces (`swap_data.hard_blend`).
    half: compute in bfloat16, which takes less than half the time where the processor has it.
    """

    seed: int = 5
    steps: int = 4000
    horizon: int = 4000
    hard_from: int = 300
    pairs: int = 16
    rate: float = 2e-3
    decay: float = 1e-3
    average: float = 0.99
    map_weight: float = 1.0
    half: bool = True
    save_every: int = 50


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut; halves the sides where stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.renorm = nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None

    def forward(self, values: Tensor) -> Tensor:
        deep = self.renorm(self.second(F.relu(self.norm(self.first(values)))))
        return F.relu(deep + (values if self.short is None else self.short(values)))


class SwapNetwork(nn.Module):
    """float32 (n, 3, 112, 112) in [0, 1] → logits (n,) and maps of logits (n, 14, 14): where the pasted part is.

    Beside the colours it is given what a 3 × 3 and a 5 × 5 mean do not explain (fixed high-pass filters): seams and
    changes of texture are there, the person is not.
    """

    high_pass: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("high_pass", high_pass_filters())
        self.stem = nn.Sequential(nn.Conv2d(9, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), Residual(64, 64, 1))
        self.top = Residual(64, 96, 2)
        self.where = nn.Conv2d(64, 1, 1)
        self.head = nn.Linear(96 + 2, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        residuals = F.conv2d(F.pad(crops, (2, 2, 2, 2), mode="replicate"), self.high_pass, groups=3)
        features = self.body(self.stem(torch.cat([(crops - 0.45) / 0.25, torch.tanh(residuals * 12)], dim=1)))
        where = self.where(features)[:, 0]
        spots = torch.sigmoid(where).flatten(1)
        pooled = torch.cat([self.top(features).mean(dim=(2, 3)), spots.mean(1, True), spots.amax(1, True)], dim=1)
        logits: Tensor = self.head(pooled)[:, 0]
        return logits, where


def high_pass_filters() -> Tensor:
    """Two 5 × 5 filters for each colour channel: the pixel less the mean of its 3 × 3, and of its 5 × 5, field."""
    filters = torch.zeros(2, 5, 5)
    filters[0, 1:4, 1:4] -= 1 / 9
    filters[1] -= 1 / 25
    filters[:, 2, 2] += 1
    return filters.repeat(3, 1, 1)[:, None]


def loss_of(network: SwapNetwork, crops: Tensor, masks: Tensor, map_weight: float) -> Tensor:
    """Cross-entropy of the classes (first half real, second half blended) and of the maps."""
    logits, where = network(crops)
    labels = torch.cat([torch.zeros(len(crops) // 2), torch.ones(len(crops) // 2)]).to(logits)
    wanted = F.adaptive_avg_pool2d(masks[:, None], where.shape[-1])[:, 0]
    by_class = F.binary_cross_entropy_with_logits(logits, labels)
    return by_class + map_weight * F.binary_cross_entropy_with_logits(where, wanted)


class Run:
    """A training run that can be stopped and taken up again: networks, optimiser, step, and the checkpoint file."""

    def __init__(self, faces: Sequence[FaceCrop], config: SwapConfig, checkpoint: Path) -> None:
        if len({face.person for face in faces}) < 2:
            raise TrainingError("All crops show one person; two are needed.", hint="Add folders of other people.")
        torch.manual_seed(config.seed)
        self.faces, self.config, self.checkpoint = faces, config, checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = SwapNetwork().to(self.device).train()
        self.network.to(memory_format=torch.channels_last)
        self.averaged: SwapNetwork = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=config.decay)
        self.step = 0
        self.made_of = {"config": asdict(config), "data": digest(faces)}

    def resume(self) -> None:
        """Take up the checkpoint where there is one; a run of more steps goes on from one of fewer.

        Raises TrainingError when it is of another run, or further than this one is to go.
        """
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        if _without_length(state["made_of"]) != _without_length(self.made_of):
            raise TrainingError(
                f"The checkpoint {self.checkpoint} is of a run with another config or other data.",
                hint="Name another work folder, or delete it to start again.",
            )
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        if self.step > self.config.steps:
            raise TrainingError(
                f"The checkpoint {self.checkpoint} is at step {self.step}, after the last, {self.config.steps}.",
                hint="Ask for more steps, or name another work folder.",
            )

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "averaged", "optimiser")}
        temporary = self.checkpoint.with_suffix(".part")
        torch.save({**parts, "step": self.step, "made_of": self.made_of}, temporary)
        temporary.replace(self.checkpoint)

    def train(self, progress: Progress | None = None) -> SwapNetwork:
        """Run to the last step; the averaged network. Raises TrainingError at a loss that is not a number."""
        losses: list[float] = []
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.batch, self.step)
            while self.step < self.config.steps:
                ready, coming = coming.result(), ahead.submit(self.batch, self.step + 1)
                losses.append(self.advance(torch.from_numpy(ready.crops), torch.from_numpy(ready.masks)))
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.save()
                    if progress:
                        progress(self.step, self.config.steps, float(np.mean(losses)))
                    losses.clear()
        return self.averaged

    def batch(self, step: int) -> Batch:
        """What one step learns from."""
        config = self.config
        return batch(self.faces, config.pairs, (config.seed, step), hard=step >= config.hard_from)

    def advance(self, crops: Tensor, masks: Tensor) -> float:
        """One step of AdamW along a cosine, after a short warm-up; then the average follows."""
        config, done = self.config, min(1.0, self.step / self.config.horizon)
        warm = min(1.0, (self.step + 1) / max(1, config.horizon // 20))
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate * warm * (0.5 + 0.5 * math.cos(math.pi * done))
        crops = crops.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.half):
            loss = loss_of(self.network, crops, masks.to(self.device), config.map_weight)
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
        for mean, new in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(new, 1 - keep)
        for mean, new in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            mean.copy_(new)


def _without_length(made_of: dict[str, Any]) -> dict[str, Any]:
    return {**made_of, "config": {name: value for name, value in made_of["config"].items() if name != "steps"}}


@torch.no_grad()
def logits_of(network: SwapNetwork, crops: Sequence[NDArray[np.uint8]], size: int = 64) -> NDArray[np.float64]:
    """The network's logits for RGB crops, float64 (n,)."""
    device = next(network.parameters()).device
    parts = [
        network(torch.from_numpy(network_input(crops[start : start + size])).to(device))[0].cpu().numpy()
        for start in range(0, len(crops), size)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
