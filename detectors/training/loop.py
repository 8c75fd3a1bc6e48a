"""The loop of a training run that can be stopped and taken up again, whatever it trains.

Every batch is drawn from (seed, step), and so is what is random within the network: a run that was interrupted goes on
from its checkpoint to the same end.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from detectors.training import checkpoints
from detectors.training.errors import TrainingError

Progress = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the mean loss since the last call."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and on what average a network is trained.

    horizon: steps of the cosine along which the rate falls; the average of the last steps stands for its end.
    average: share of the averaged weights that a step keeps. half: compute in bfloat16, which takes less than half the
    time where the processor has it.
    """

    seed: int
    steps: int
    horizon: int
    rate: float
    decay: float
    average: float
    save_every: int = 50
    half: bool = True

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: a short rise, then along the cosine."""
        rise = min(1.0, (step + 1) / max(1, self.horizon // 20))
        return self.rate * rise * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / self.horizon)))


Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")
Config = TypeVar("Config", bound=Schedule)


class Run(ABC, Generic[Network, Batch, Config]):
    """A training run: networks, optimiser, step, and the checkpoint file. `data` is a digest of what is learnt from."""

    def __init__(self, make: Callable[[], Network], config: Config, data: str, checkpoint: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.checkpoint = config, checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Network = make().to(self.device, memory_format=torch.channels_last).train()
        self.averaged: Network = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=config.decay)
        self.step = 0
        self.made_of = {"config": asdict(config), "data": data}

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """What one step learns from. Deterministic in the seed and the step."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss of the network on a batch."""

    def resume(self) -> None:
        """Take up the checkpoint where there is one; a run of more steps goes on from one of fewer.

        Raises TrainingError when it is of another run, or further than this one is to go.
        """
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        checkpoints.check_run(self.checkpoint, _without_length(state["made_of"]), _without_length(self.made_of))
        if state["step"] > self.config.steps:
            raise TrainingError(
                f"The checkpoint {self.checkpoint} is at step {state['step']}, after the last, {self.config.steps}.",
                hint="Ask for more steps, or name another work folder.",
            )
        for name in ("network", "averaged", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step = int(state["step"])

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "averaged", "optimiser")}
        checkpoints.save(self.checkpoint, {**parts, "step": self.step, "made_of": self.made_of})

    def train(self, progress: Progress | None = None) -> Network:
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

    def advance(self, batch: Batch) -> float:
        """One step of AdamW; then the average follows."""
        config = self.config
        self.optimiser.param_groups[0]["lr"] = config.rate_at(self.step)
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # of the dropout
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.half):
            loss = self.loss(batch)
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


def _without_length(made_of: Mapping[str, Any]) -> dict[str, Any]:
    return {**made_of, "config": {name: value for name, value in made_of["config"].items() if name != "steps"}}
