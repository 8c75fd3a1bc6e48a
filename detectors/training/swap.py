"""The `swap` detector's network: what it is, and how it is trained.

A small residual network looks at an aligned face crop and says whether a face was blended into it, and where. It learns
from real faces and self-blended copies of the same faces (`blending.py`), a pair at a time, so that neither person,
content, resampling nor compression tells the classes apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.training.errors import TrainingError
from detectors.training.loop import Run, Schedule
from detectors.training.swap_data import Batch, FaceCrop, batch, digest, network_input


@dataclass(frozen=True)
class SwapConfig(Schedule):
    """How a network is trained. pairs: real crops of a batch, each with its blend; map_weight: of the loss on where.

    hard_from: step from which most blends leave few traces (`swap_data.hard_blend`).
    """

    seed: int = 5
    steps: int = 4000
    horizon: int = 4000
    rate: float = 2e-3
    decay: float = 1e-3
    average: float = 0.99
    hard_from: int = 300
    pairs: int = 16
    map_weight: float = 1.0


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


class SwapRun(Run[SwapNetwork, Batch, SwapConfig]):
    """The training of one network on some faces."""

    def __init__(self, faces: Sequence[FaceCrop], config: SwapConfig, checkpoint: Path) -> None:
        if len({face.person for face in faces}) < 2:
            raise TrainingError("All crops show one person; two are needed.", hint="Add folders of other people.")
        self.faces = faces
        super().__init__(SwapNetwork, config, digest(faces), checkpoint)

    def batch(self, step: int) -> Batch:
        config = self.config
        return batch(self.faces, config.pairs, (config.seed, step), hard=step >= config.hard_from)

    def loss(self, batch: Batch) -> Tensor:
        crops = torch.from_numpy(batch.crops).to(self.device, memory_format=torch.channels_last)
        return loss_of(self.network, crops, torch.from_numpy(batch.masks).to(self.device), self.config.map_weight)


@torch.no_grad()
def logits_of(network: SwapNetwork, crops: Sequence[NDArray[np.uint8]], size: int = 64) -> NDArray[np.float64]:
    """The network's logits for RGB crops, float64 (n,)."""
    device = next(network.parameters()).device
    parts = [
        network(torch.from_numpy(network_input(crops[start : start + size])).to(device))[0].cpu().numpy()
        for start in range(0, len(crops), size)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
