"""Fine-tunes an image tower of open_clip to tell generated pictures, for those who have a GPU. It runs on a CPU too, slowly.

The last blocks learn, with a linear head; the rest stays as it was pretrained. Both classes go through the same views as for the
heads, a new one at each step. What is measured is what ships: one family of generators, with its prompts, and one fold of the real
images are never trained on.
"""

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.calibration import Calibration
from detectors.card import Card
from detectors.runtime import bare_session
from detectors.tower import PIXELS, prepare
from detectors.training import checkpoints
from detectors.training.data import DataError, Example, View, check_split, decode, digest, render
from detectors.training.errors import TrainingError
from detectors.training.figures import auc, balanced, calibration_error, probabilities, recall_at
from detectors.training.synthetic import platt

MOST_DIFFERENCE = 1e-3
FEWEST = 20
OPSET = 17
RATES = (0.001, 0.01, 0.05)

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TowerConfig:
    """tower: open_clip's name of it. pretrained: a local file, a tag of open_clip's, or '' for none.

    blocks: how many groups of layers learn, from the last. batch: pictures of each class in a step. half: mixed precision (CUDA only).
    online: whether a tag may be fetched from a hub.
    """

    tower: str
    pretrained: str = ""
    blocks: int = 2
    steps: int = 2000
    batch: int = 16
    rate: float = 2e-5
    head_rate: float = 1e-3
    decay: float = 0.05
    prevalence: float = 0.5
    folds: int = 5
    seed: int = 0
    save_every: int = 100
    half: bool = True
    online: bool = False


class Tower(nn.Module):
    """Pixels float32 (n, 3, side, side), normalised, to logits (n,)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        if config.pretrained and not config.online and not Path(config.pretrained).is_file():
            raise TrainingError(
                f"{config.pretrained!r} is no local file of weights.", hint="Name one, or allow a hub with --online."
            )
        try:
            model = open_clip.create_model(config.tower, pretrained=config.pretrained or None)
        except (RuntimeError, OSError, ValueError, AssertionError) as error:
            raise TrainingError(
                f"The tower {config.tower!r} with weights {config.pretrained!r} cannot be made: {error}",
                hint="Name a tower of open_clip, and a local file of its weights.",
            ) from error
        self.visual = model.visual
        self.visual.lock(unlocked_groups=config.blocks)
        size = self.visual.image_size
        self.side = int(size[0] if isinstance(size, tuple) else size)
        self.mean = tuple(float(value) for value in self.visual.image_mean)
        self.deviation = tuple(float(value) for value in self.visual.image_std)
        with torch.no_grad():
            width = self.visual(torch.zeros(1, 3, self.side, self.side)).shape[-1]
        self.head = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        embedded = nn.functional.normalize(self.visual(pixels), dim=-1)
        logit = self.head(embedded * 10).squeeze(-1)
        return logit * self.scale[0] + self.scale[1]


@dataclass(frozen=True)
class Split:
    """train and test share no family, prompt or file; the real images of test are one fold."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]
    family: str


def split(examples: Sequence[Example], left_out: str, folds: int) -> Split:
    """Leave a family and its prompts out, and a fold of the real images. Raises DataError."""
    families = sorted({example.family for example in examples if example.generated})
    family = left_out or families[0]
    if family not in families or len(families) < 2:
        raise DataError(
            f"{family!r} cannot be left out of {', '.join(families)}.",
            hint="Two families are needed; name one of them.",
        )
    prompts = {e.prompt for e in examples if e.generated and e.family == family and e.prompt}
    fold = {e.file: int(hashlib.sha256(e.file.encode()).hexdigest(), 16) % folds == 0 for e in examples}
    test = tuple(e for e in examples if (e.family == family if e.generated else fold[e.file]))
    train = tuple(
        e for e in examples if not (e.family == family or e.prompt in prompts if e.generated else fold[e.file])
    )
    for side, name in ((train, "trained on"), (test, "tested on")):
        if min(sum(e.generated for e in side), sum(not e.generated for e in side)) < FEWEST:
            raise DataError(f"Too few pictures would be {name}: {FEWEST} of each class are needed.")
    check_split(train, test)
    return Split(train, test, family)


class Run:
    """A training that can be interrupted: the same config and data go on from the checkpoint."""

    def __init__(self, config: TowerConfig, data: Split, checkpoint: Path) -> None:
        self.config, self.data, self.checkpoint = config, data, checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = Tower(config).to(self.device)
        head = list(self.network.head.parameters())
        body = [value for value in self.network.visual.parameters() if value.requires_grad]
        groups = [{"params": body, "lr": config.rate}, {"params": head, "lr": config.head_rate}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=config.decay)
        self.rates = (config.rate, config.head_rate)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half)
        self.step = 0
        lines = sorted(f"{e.generated:d} {e.group} {digest(e.path)}" for e in data.train)
        self.made_of = {"config": asdict(config), "data": hashlib.sha256("\n".join(lines).encode()).hexdigest()}

    @property
    def half(self) -> bool:
        return self.config.half and self.device.type == "cuda"

    def resume(self) -> None:
        """Take up the checkpoint where there is one. Raises TrainingError when it is of another run."""
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        checkpoints.check_run(self.checkpoint, state["made_of"], self.made_of)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])

    def save(self) -> None:
        """Write the checkpoint whole, or leave the one before."""
        parts = {name: getattr(self, name).state_dict() for name in ("network", "optimiser", "scaler")}
        checkpoints.save(self.checkpoint, {**parts, "step": self.step, "made_of": self.made_of})

    def train(self, progress: Progress | None = None) -> Tower:
        """Run to the last step. Raises TrainingError at a loss that is not a number; the last good checkpoint stays."""
        while self.step < self.config.steps:
            loss = self.advance(*self.batch(self.step))
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self.save()
                if progress:
                    progress(self.step, self.config.steps, loss)
        return self.network.eval()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """As many of each class, groups alike often, each picture in a view of its own."""
        rng = np.random.default_rng((self.config.seed, step))
        chosen = [
            example
            for generated in (True, False)
            for example in _drawn([e for e in self.data.train if e.generated == generated], self.config.batch, rng)
        ]
        protocols = ("native", "matched", "laundered")
        views = [View(protocols[int(rng.integers(3))], step) for _ in chosen]  # type: ignore[arg-type]
        pixels = np.concatenate([seen(self.network, e, view) for e, view in zip(chosen, views, strict=True)])
        return torch.from_numpy(pixels), torch.tensor([float(e.generated) for e in chosen])

    def advance(self, pixels: Tensor, labels: Tensor) -> float:
        """One step of AdamW along a cosine."""
        self.network.train()
        along = 0.5 + 0.5 * math.cos(math.pi * self.step / self.config.steps)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * along
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            logits = self.network(pixels.to(self.device))
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.to(self.device))
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss.item()} at step {self.step}; the last good checkpoint is {self.checkpoint}.",
                hint="Lower the rate, or look for broken weights.",
            )
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        return float(loss.item())


def _drawn(examples: Sequence[Example], count: int, rng: np.random.Generator) -> list[Example]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    names = sorted(groups)
    return [groups[name][int(rng.integers(len(groups[name])))] for name in rng.choice(names, count)]


def seen(network: Tower, example: Example, view: View) -> NDArray[np.float32]:
    """The tower's input of a picture in a view, (1, 3, side, side)."""
    frame = render(decode(example.path), view, digest(example.path))
    return prepare(frame, network.side, network.mean, network.deviation)


@torch.no_grad()
def logits_of(network: Tower, examples: Sequence[Example], view: View) -> NDArray[np.float64]:
    """The tower's logits of pictures in a view, float64 (n,)."""
    device = network.head.weight.device
    found = [network(torch.from_numpy(seen(network, e, view)).to(device)).float().cpu().numpy() for e in examples]
    return np.concatenate(found).astype(np.float64)


def train(
    examples: Sequence[Example],
    config: TowerConfig,
    work: Path,
    folder: Path,
    *,
    left_out: str = "",
    progress: Progress | None = None,
) -> Card:
    """Fine-tune, measure on what was left out, and write `synthetic.{onnx,card.json,calibration.json}`, the card last.

    Raises DataError and TrainingError; then nothing is left in `folder` that could be registered.
    """
    data = split(examples, left_out, config.folds)
    run = Run(config, data, work / "tower.pt")
    run.resume()
    network = run.train(progress).cpu()
    views = {str(view): logits_of(network, data.test, view) for view in (View("native", 0), View("laundered", 0))}
    positive = np.array([example.generated for example in data.test])
    slope, bias = platt(np.concatenate(list(views.values())), np.tile(positive, len(views)), config.prevalence)
    network.scale.copy_(torch.tensor([slope, bias]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "synthetic.card.json").unlink(missing_ok=True)
    apart = export(network, folder / "synthetic.onnx")
    probability = {name: probabilities(slope * logits + bias) for name, logits in views.items()}
    figures = {name: _figures(values, positive, config.prevalence) for name, values in probability.items()}
    made = {"tower": config.tower, "side": network.side, "mean": network.mean, "deviation": network.deviation,
            **run.made_of, "images": len(data.train), "left_out": data.family, "code": version("palisade"),
            "torch": torch.__version__, "export_difference": apart}  # fmt: skip
    sha256 = hashlib.sha256((folder / "synthetic.onnx").read_bytes()).hexdigest()
    card = Card("synthetic", sha256, PIXELS, config.prevalence, made, figures, limits(data))
    negatives = np.concatenate([values[~positive] for values in probability.values()])
    source = (
        f"{len(negatives)} views of real pictures that the tower was not trained on; shares below 0.02 are extrapolated"
    )
    calibration = Calibration.fit(negatives, model=card.identity, source=source, fewest=FEWEST)
    calibration.write(folder / "synthetic.calibration.json")
    card.write(folder)
    return card


def limits(data: Split) -> tuple[str, ...]:
    """What the figures do not say."""
    sources = sorted({example.source for example in data.train if not example.generated})
    return (
        f"Measured on one family of generators left out ({data.family}); the scale of the score was fitted on it.",
        f"The real images are of {len(sources)} sources; of others, more are flagged than `fpr` says.",
        "Only the centre square is read. Never evidence on its own.",
    )


def _figures(probability: NDArray[np.float64], positive: NDArray[np.bool_], prevalence: float) -> dict[str, Any]:
    area = auc(probability, positive)
    return {
        "mean_auc": area,
        "worst_auc": area,
        **{f"recall_at_{rate:g}": recall_at(probability, positive, rate) for rate in RATES},
        "ece": calibration_error(probability, positive, balanced(positive, prevalence)),
    }


def export(network: Tower, path: Path) -> float:
    """Write the tower as ONNX, checked; the largest difference of its answers. Raises TrainingError above 1e-3."""
    network = network.eval()
    temporary = path.with_suffix(".part.onnx")
    with warnings.catch_warnings(), _plain_attention():
        warnings.simplefilter("ignore")  # torch deprecates its own exporters from within
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, network.side, network.side),),
            str(temporary),
            input_names=[PIXELS],
            output_names=["logit"],
            dynamic_axes={PIXELS: {0: "n"}, "logit": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    try:
        apart = difference(network, temporary)
    except TrainingError:
        temporary.unlink()
        raise
    temporary.replace(path)
    return apart


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Without torch's fused attention, which no exporter knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def difference(network: Tower, path: Path) -> float:
    """Largest difference between torch's logits and ONNX Runtime's. Raises TrainingError above 1e-3."""
    pixels = np.random.default_rng(0).normal(size=(4, 3, network.side, network.side)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels)).numpy()
    session = bare_session(path)
    answers = np.concatenate([session.run(["logit"], {PIXELS: one[None]})[0] for one in pixels])
    apart = float(np.abs(answers - expected).max())
    if not apart <= MOST_DIFFERENCE:
        raise TrainingError(
            f"The exported tower differs from the trained one by {apart:.2g}; {MOST_DIFFERENCE:g} is allowed."
        )
    return apart
