"""What the embedded model learns: labelled photographs and drawings of the data folder, and scenes drawn by code."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from generator.errors import TrainingError
from generator.scenes import SCENES, Picture

CLOTHING = {
    "t-shirt": "a shirt",
    "shirt": "a shirt",
    "longsleeve": "a sweater",
    "outwear": "a jacket",
    "pants": "trousers",
    "dress": "a dress",
    "skirt": "a skirt",
    "shorts": "shorts",
    "hat": "a hat",
    "shoes": "shoes",
}
COLOURS = {
    "black": (25, 25, 28),
    "white": (232, 232, 232),
    "grey": (128, 128, 128),
    "red": (190, 35, 45),
    "pink": (225, 130, 165),
    "blue": (50, 80, 150),
    "green": (50, 130, 75),
    "yellow": (225, 200, 70),
    "purple": (115, 60, 140),
    "brown": (120, 85, 60),
}
WORDS = sorted(
    {"a", "an", "photo", "of", "picture", "painting", *COLOURS}
    | {word for caption in (*CLOTHING.values(), *SCENES, "a warrior", "a photograph") for word in caption.split()}
)
SCENES_SHARE = 0.3
"""Share of training pictures that are drawn scenes."""


@dataclass(frozen=True)
class Example:
    """One labelled picture: RGB uint8, shorter side 80 px, and what its label says it shows ("" for nothing taught)."""

    pixels: npt.NDArray[np.uint8]
    caption: str


def load(data: Path) -> list[Example]:
    """The real pictures of the training split under `data` (its `manifest.csv` names them). Faces are not used.

    Raises TrainingError when the manifest or a picture is missing.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise TrainingError(f"no manifest at {manifest}", hint="--data names the folder that holds manifest.csv")
    with manifest.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"] == "real" and row["split"] == "train"]
    if not rows:
        raise TrainingError(f"{manifest} lists no real picture of the training split")
    return [_example(data / row["file"], row) for row in sorted(rows, key=lambda row: row["file"])]


def _example(path: Path, row: dict[str, str]) -> Example:
    try:
        with PIL.Image.open(path) as opened:
            picture = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error}", hint="restore the file or its line") from error
    scale = 80 / min(picture.size)
    size = (max(80, round(picture.width * scale)), max(80, round(picture.height * scale)))
    pixels = np.asarray(picture.resize(size, PIL.Image.Resampling.LANCZOS))
    return Example(pixels, caption(row["source"], row["origin"], pixels))


def caption(source: str, origin: str, pixels: npt.NDArray[np.uint8]) -> str:
    """What the origin's folder says is in the picture; clothing gets its colour before the noun."""
    if source == "clothing":
        noun = CLOTHING.get(Path(origin).parent.name, "")
        article, _, rest = noun.rpartition(" ")
        return f"{article} {colour_name(pixels)} {rest}".strip() if noun else ""
    if source == "art" and re.search(r"/portraits/(humans|elves|dwarves|orcs|undead)/", origin):
        return "a warrior"
    if source == "art" and "landscape" in origin:
        return "a mountain landscape"
    return "a photograph" if source in ("imagenet", "bsds") else ""


def colour_name(pixels: npt.NDArray[np.uint8]) -> str:
    """The named colour nearest to the median of the picture's middle."""
    height, width = pixels.shape[:2]
    middle = pixels[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3].reshape(-1, 3)
    median = np.median(middle, axis=0)
    return min(COLOURS, key=lambda name: float(np.linalg.norm(median - np.array(COLOURS[name]))))


def augmented(example: Example, rng: np.random.Generator, size: int) -> Picture:
    """A random crop of most of the picture, flipped half of the time, light changed a little: (size, size, 3) in [0, 1]."""
    height, width = example.pixels.shape[:2]
    side = int(min(height, width) * rng.uniform(0.88, 1.0))
    top = int((height - side) * np.clip(rng.normal(0.5, 0.15), 0, 1))
    left = int((width - side) * np.clip(rng.normal(0.5, 0.15), 0, 1))
    crop = PIL.Image.fromarray(example.pixels[top : top + side, left : left + side])
    pixels = np.asarray(crop.resize((size, size), PIL.Image.Resampling.LANCZOS), np.float32) / 255
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return np.clip(pixels * rng.uniform(0.92, 1.08) + rng.uniform(-0.03, 0.03), 0, 1).astype(np.float32)


def draw(examples: list[Example], rng: np.random.Generator, size: int) -> tuple[Picture, str]:
    """One training picture and its caption."""
    if rng.random() < SCENES_SHARE:
        name = str(rng.choice(sorted(SCENES)))
        return SCENES[name](rng, size), name
    example = examples[int(rng.integers(len(examples)))]
    return augmented(example, rng, size), example.caption
