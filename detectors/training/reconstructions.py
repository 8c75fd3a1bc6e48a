"""Aligned reconstructions: real pictures through autoencoders and back, the same content with a decoder's traces.

Five kinds of decoder, so that one at a time can be left out of training and be the test: FLUX.2's tiny autoencoder, the
embedded generator's, and small ones that are trained here, which differ in how they enlarge (nearest neighbour,
transposed convolution, pixel shuffle), in their depth and in whether their latents are quantised. Everything is
kept in a folder, one file for each picture and autoencoder, so an interrupted run goes on where it was.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.image import Pixels
from detectors.training import checkpoints
from detectors.training.data import Example, decode, digest, silent
from detectors.training.errors import TrainingError
from detectors.training.tiny_autoencoder import TinyAutoencoder

SIDE = 192
"""Pixels along a side of a crop that is reconstructed. Divisible by every autoencoder's factor."""

LARGE = 800
"""Short side above which a picture is first made smaller, so that traces of its camera's compression are gone."""

Progress = Callable[[int, int], None]
Enlarging = Literal["nearest", "transposed", "shuffle"]


class RoundTrip(Protocol):
    """Pictures float32 (n, 3, SIDE, SIDE) in [0, 1] to their reconstructions."""

    def __call__(self, pictures: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Design:
    """A small autoencoder. halvings: 2 is 4× down, 3 is 8×. levels: of each latent channel, 0 where it is continuous."""

    name: str
    enlarging: Enlarging
    halvings: int
    latent: int
    width: int = 24
    levels: int = 0
    norm: bool = False
    steps: int = 450
    batch: int = 12
    side: int = 64
    rate: float = 2e-3
    seed: int = 11


DESIGNS = (
    Design("nearest8", "nearest", 3, 48, norm=True),
    Design("transposed4", "transposed", 2, 10, levels=11, steps=300),
    Design("shuffle8", "shuffle", 3, 32, steps=300),
)


class Deep(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, width) if norm else nn.Identity(),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = values + self.layers(values)
        return result


def enlarge(kind: Enlarging, inputs: int, outputs: int) -> nn.Module:
    """A layer that doubles both sides."""
    if kind == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    if kind == "shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1))


class SmallAutoencoder(nn.Module):
    """Pictures (n, 3, h, w) in [0, 1], sides that the factor divides, to their reconstructions, not clamped."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        widths = [design.width * min(2**level, 3) for level in range(design.halvings + 1)]
        down: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, widths[0], 3, padding=1),
            Deep(widths[0], design.norm),
        ]
        for narrow, wide in pairwise(widths[: design.halvings]):
            down += [nn.Conv2d(narrow, wide, 4, 2, 1), Deep(wide, design.norm)]
        last = widths[design.halvings - 1]
        up: list[nn.Module] = [nn.Conv2d(design.latent, last, 3, padding=1), Deep(last, design.norm)]
        for narrow, wide in reversed(list(pairwise(widths[: design.halvings]))):
            up += [Deep(wide, design.norm), enlarge(design.enlarging, wide, narrow)]
        up += [
            Deep(widths[0], design.norm),
            enlarge(design.enlarging, widths[0], 16),
            nn.SiLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        ]
        self.encoder = nn.Sequential(*down, nn.Conv2d(last, design.latent, 1))
        self.decoder = nn.Sequential(*up)
        self.levels = design.levels

    def forward(self, pictures: Tensor) -> Tensor:
        latents = self.encoder(pictures * 2 - 1)
        if self.levels:
            half = (self.levels - 1) / 2
            bounded = torch.tanh(latents) * half
            latents = (bounded + (bounded.round() - bounded).detach()) / half
        result: Tensor = self.decoder(latents) / 2 + 0.5
        return result


def texture(pictures: Tensor) -> Tensor:
    """How strong the fine detail is around each place: means of 4 × 4 pixels of what a 3 × 3 mean does not explain."""
    detail = pictures - F.avg_pool2d(pictures, 3, 1, 1)
    return F.avg_pool2d(detail.abs(), 4)


def train_autoencoder(
    design: Design, crops: Sequence[Pixels], path: Path, progress: Progress = silent
) -> SmallAutoencoder:
    """Train on real crops, or take up the checkpoint at `path`. Raises TrainingError for a loss that is not a number.

    Beside the pixels it has to restore how strong the texture is, as the ones in use do: a detector of blur would do else.
    """
    torch.manual_seed(design.seed)
    model = SmallAutoencoder(design).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=design.rate, weight_decay=1e-4)
    step = _resume(path, model, optimiser, design)
    while step < design.steps:
        warm = min(1.0, (step + 1) / 100)
        optimiser.param_groups[0]["lr"] = design.rate * warm * (0.05 + 0.95 * (1 - step / design.steps))
        wanted = _batch(crops, design, step)
        with torch.autocast("cpu", torch.bfloat16):
            made = model(wanted)
        made = made.float()
        loss = F.l1_loss(made, wanted) + 1.5 * F.l1_loss(texture(made), texture(wanted))
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss of {design.name} is {loss.item()} at step {step}; the last good checkpoint is {path}."
            )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 100 == 0 or step == design.steps:
            _save(path, model, optimiser, step, design)
            progress(step, design.steps)
    return model.eval().requires_grad_(False)


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, design: Design) -> int:
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state["design"] != asdict(design):
        raise TrainingError(f"{path} is of another design.", hint="Name another work folder, or delete the file.")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int, design: Design) -> None:
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "design": asdict(design)}
    checkpoints.save(path, state)


def _batch(crops: Sequence[Pixels], design: Design, step: int) -> Tensor:
    random = np.random.default_rng((design.seed, step))
    parts = []
    for number in random.integers(0, len(crops), design.batch):
        top, left = random.integers(0, SIDE - design.side + 1, 2)
        part = crops[number][top : top + design.side, left : left + design.side]
        parts.append(np.rot90(part, int(random.integers(4))))
    return as_tensor(np.stack(parts))


def as_tensor(pictures: Pixels) -> Tensor:
    """uint8 (n, h, w, 3) to float32 (n, 3, h, w) in [0, 1]."""
    moved = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    return (torch.from_numpy(moved).float() / 255).contiguous(memory_format=torch.channels_last)


def crop(example: Example) -> Pixels:
    """A real picture's crop, uint8 (SIDE, SIDE, 3): the one with most detail of six, drawn by the file's digest only.

    A large picture is made smaller by a random factor first, a small one is continued by reflection.
    """
    picture = decode(example.path)
    random = np.random.default_rng(int(digest(example.path)[:15], 16))
    if (short := min(picture.size)) > LARGE:
        factor = max(SIDE / short, random.uniform(0.35, 0.7))
        picture = picture.resize([round(side * factor) for side in picture.size], PIL.Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)
    missing = [(0, max(0, SIDE - side)) for side in pixels.shape[:2]]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")
    places = [
        (random.integers(0, pixels.shape[0] - SIDE + 1), random.integers(0, pixels.shape[1] - SIDE + 1))
        for _ in range(6)
    ]
    parts = [pixels[top : top + SIDE, left : left + SIDE] for top, left in places]
    return np.ascontiguousarray(
        max(parts, key=lambda part: float(np.abs(np.diff(part.astype(np.int16), axis=1)).mean()))
    )


class PairCache:
    """Crops and reconstructions of examples in a folder, uint8 (SIDE, SIDE, 3) each. `version`: raise it with `crop`."""

    version = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def crops(self, examples: Sequence[Example], progress: Progress = silent) -> list[Pixels]:
        """The crop of each real example, in their order."""
        return list(self._each("real", examples, lambda number: crop(examples[number]), progress))

    def reconstructions(
        self,
        name: str,
        examples: Sequence[Example],
        crops: Sequence[Pixels],
        trip: RoundTrip,
        progress: Progress = silent,
    ) -> list[Pixels]:
        """The reconstruction of each example's crop by an autoencoder, in their order."""
        return list(self._each(name, examples, lambda number: through(trip, crops[number]), progress))

    def _each(
        self, kind: str, examples: Sequence[Example], make: Callable[[int], Pixels], progress: Progress
    ) -> Iterator[Pixels]:
        for number, example in enumerate(examples):
            key = hashlib.sha256(f"{self.version}:{digest(example.path)}".encode()).hexdigest()
            path = self.folder / kind / f"{key[:24]}.npy"
            yield _kept(path, lambda number=number: make(number))  # type: ignore[misc]
            progress(number + 1, len(examples))


def _kept(path: Path, make: Callable[[], Pixels]) -> Pixels:
    """The array in a file; made and written when it is missing or damaged."""
    try:
        held: Pixels = np.load(path, allow_pickle=False)
        if held.shape == (SIDE, SIDE, 3) and held.dtype == np.uint8:
            return held
    except (OSError, ValueError, EOFError):
        held = make()
    else:
        held = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.save(stream, held)
    part.replace(path)
    return held


@torch.no_grad()
def through(trip: RoundTrip, pixels: Pixels) -> Pixels:
    """One crop through an autoencoder and back."""
    made = trip(as_tensor(pixels[None])).clamp(0, 1)[0]
    return np.ascontiguousarray((made * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def flux2_tiny(folder: Path) -> RoundTrip:
    """FLUX.2's tiny autoencoder; its encoder in half precision: the pixels are the decoder's."""
    model = TinyAutoencoder(folder).to(memory_format=torch.channels_last)

    def trip(pictures: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encoder(pictures)
        made: Tensor = model.decoder(latents.float())
        return made

    return trip


def diffusers_kl(folder: Path) -> RoundTrip:
    """An `AutoencoderKL` of a local folder in the diffusers layout; its mean latents, so that it is deterministic."""
    from diffusers import AutoencoderKL  # noqa: PLC0415 - slow to import, and not always used

    model = AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    model.to(memory_format=torch.channels_last)

    def trip(pictures: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(pictures * 2 - 1).latent_dist.mean
        made: Tensor = model.decode(latents.float()).sample
        return made / 2 + 0.5

    return trip
