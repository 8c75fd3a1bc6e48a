"""A training loop that can be killed: every checkpoint is whole, and a resumed run takes the same steps.

A checkpoint is one safetensors file with the weights, their running mean (EMA) and Adam's moments. The batch of step n
depends on the seed and n only.
"""

import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from generator.errors import TrainingError

Say = Callable[[str], None]


@dataclass
class Loop:
    """Steps of Adam on the parameters of `module`, with checkpoints in `folder/name.safetensors`.

    minutes: wall-clock budget of one run; the loop ends at a checkpoint when it is spent. `losses` is the curve
    (step, mean loss since the last point) that is kept beside the checkpoint as CSV.
    """

    name: str
    module: torch.nn.Module
    folder: Path
    steps: int
    rate: float
    decay: float = 0.998
    every: int = 100
    minutes: float = float("inf")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=self.rate, weight_decay=1e-4, betas=(0.9, 0.98))
        self.mean = {name: value.detach().clone() for name, value in self.module.named_parameters()}
        self.losses: list[tuple[int, float]] = []
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def run(self, loss: Callable[[int], torch.Tensor], say: Say) -> None:
        """Resume from the checkpoint if there is one, then step until `steps` or `minutes` are reached.

        Raises TrainingError when the loss is not finite; the last good checkpoint is kept.
        """
        self.resume()
        started, first, window = time.monotonic(), self.step, 0.0
        while self.step < self.steps:
            value = loss(self.step)
            if not torch.isfinite(value):
                raise TrainingError(
                    f"{self.name}: the loss is {value.item()} at step {self.step}",
                    hint=f"the last good state is {self.checkpoint}; lower the learning rate ({self.rate:g}) and resume",
                )
            self._update(value)
            window += value.item()
            if self.step % self.every == 0 or self.step == self.steps:
                self.losses.append((self.step, window / ((self.step - 1) % self.every + 1)))
                window = 0.0
                self.save()
                say(self._progress(time.monotonic() - started, self.step - first))
                if time.monotonic() - started > self.minutes * 60:
                    break

    def _update(self, value: torch.Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (self.step + 1) / 50)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                self.mean[name].lerp_(parameter, 1 - decay)

    def _progress(self, seconds: float, steps: int) -> str:
        rate = steps / max(seconds, 1e-9)
        left = min((self.steps - self.step) / max(rate, 1e-9), self.minutes * 60 - seconds)
        return (
            f"{self.name} {self.step}/{self.steps}  loss {self.losses[-1][1]:.4f}  {rate:.2f} steps/s  "
            f"{max(left, 0) / 60:.1f} min left"
        )

    def save(self) -> None:
        """Write the checkpoint and the curve, each whole or not at all."""
        state = {f"weight.{name}": value.detach() for name, value in self.module.named_parameters()}
        state |= {f"mean.{name}": value for name, value in self.mean.items()}
        for name, parameter in self.module.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            state |= {f"{key}.{name}": moments[key] for key in ("exp_avg", "exp_avg_sq") if moments}
        curve = ";".join(f"{step},{loss:.6g}" for step, loss in self.losses)
        temporary = self.checkpoint.with_suffix(".part")
        save_file(
            {name: value.contiguous() for name, value in state.items()},
            temporary,
            metadata={"step": str(self.step), "losses": curve},
        )
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(self.checkpoint)
        write_curve(self.folder / f"{self.name}.csv", self.losses)

    def resume(self) -> None:
        """Take up the checkpoint's state, if there is one. Raises TrainingError when it is not of this model."""
        if not self.checkpoint.is_file():
            return
        try:
            with safe_open(self.checkpoint, "pt") as stored:
                state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
                metadata = stored.metadata()
            self._restore(state, int(metadata["step"]))
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{self.checkpoint} is not a checkpoint of this model: {error}", hint="delete it to start anew"
            ) from error
        self.losses = [
            (int(step), float(loss)) for step, loss in (p.split(",") for p in metadata["losses"].split(";") if p)
        ]

    def _restore(self, state: dict[str, torch.Tensor], step: int) -> None:
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(state[f"weight.{name}"])
                self.mean[name].copy_(state[f"mean.{name}"])
                if step:
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": state[f"exp_avg.{name}"],
                        "exp_avg_sq": state[f"exp_avg_sq.{name}"],
                    }
        self.step = step

    def use_mean(self) -> None:
        """Put the running mean of the weights into the module."""
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(self.mean[name])


def write_curve(path: Path, losses: list[tuple[int, float]]) -> None:
    """The loss curve as CSV: step, loss."""
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("step", "loss"))
        writer.writerows((step, f"{loss:.6g}") for step, loss in losses)
    temporary.replace(path)
