"""Labelled images for training: their manifest, their groups, and views that give nothing away but the pixels.

Real and generated pictures come as different files: other formats, sizes, compression histories. A learner that sees
any of it learns that. So both classes go through the same *views*: decoded, upright, RGB, resampled by a random factor
and compressed by a random codec at a random quality, all drawn from one seed.
"""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import PIL.ImageOps

from detectors.errors import ModerationError
from detectors.image import Frame
from detectors.signals import PDQ_QUALITY, PDQ_SIDE, bounded, pdq_orientations

COLUMNS = ("file", "label", "source")
GROUPS = ("family", "group")
LABELS = ("real", "generated")
DUPLICATE_DISTANCE = 31
SMALLEST_SIDE = 16

Protocol = Literal["native", "laundered", "matched"]

_FILTERS = [PIL.Image.Resampling.BILINEAR, PIL.Image.Resampling.BICUBIC, PIL.Image.Resampling.LANCZOS]
_PROMPT = re.compile(r"/renders/([^/]+)/|:img/([^/@]+)\.|/(?:cases|examples)/([^/]+)/")


class DataError(ModerationError):
    """Training data that cannot be used: the message names the value, the limit and the mend."""

    code = "training_data"
    status = 422


@dataclass(frozen=True, order=True)
class Example:
    """One labelled image file.

    source: the set it comes from (one pipeline, one site). family: of generators, or the kind of real image.
    prompt: what names the request behind a generated picture, '' where the manifest's `origin` does not say. remade: made of a
    real picture, to which it may be near.
    """

    file: str
    path: Path
    generated: bool
    source: str
    family: str
    prompt: str = ""
    remade: bool = False

    @property
    def group(self) -> str:
        """What must not be on both sides of a split: a family of generators, a source of real images."""
        return self.family if self.generated else self.source


@dataclass(frozen=True, order=True)
class View:
    """How one picture is seen: the protocol and the seed of its random resampling and compression."""

    protocol: Protocol
    seed: int

    def __str__(self) -> str:
        return f"{self.protocol}-{self.seed}"


def silent(*_: object) -> None:
    """Progress that nobody hears."""


def read_manifest(manifest: Path) -> list[Example]:
    """The examples of a CSV with at least `file,label,source` and `family` or `group`, files relative to it, by their names.

    `group` stands for `family` where there is none, and is what a split keeps together where there is. Raises DataError when a column or a file is missing, a label is unknown, or a file is named twice.
    """
    try:
        with manifest.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The manifest {manifest} cannot be read: {error}.") from error
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    if not missing and not set(GROUPS) & rows[0].keys():
        missing = ["family"]
    if missing:
        raise DataError(
            f"The manifest {manifest} has no column {', '.join(missing)}, or no rows.",
            hint=f"It needs {', '.join(COLUMNS)} and family or group; `origin` names prompts.",
        )
    examples = sorted(_example(manifest, number, row) for number, row in enumerate(rows, start=2))
    check_names(examples, f"The manifest {manifest} names")
    return examples


def check_names(examples: Sequence[Example], who: str) -> None:
    """Raises DataError when a file is named twice."""
    for name, count in Counter(example.file for example in examples).items():
        if count > 1:
            raise DataError(f"{who} {name} {count} times.", hint="One row for each file, by a name of its own.")


def _example(manifest: Path, line: int, row: dict[str, str]) -> Example:
    path = manifest.parent / row["file"]
    if row["label"] not in LABELS:
        raise DataError(f"{manifest}:{line} has the label {row['label']!r}.", hint=f"Use {' or '.join(LABELS)}.")
    family = row.get("family") or row.get("group") or ""
    if not row["source"] or not family:
        raise DataError(f"{manifest}:{line} names no source or no family.", hint="Splits are made by them: fill both.")
    if not path.is_file():
        raise DataError(f"{manifest}:{line} names {row['file']}, and there is no {path}.")
    generated = row["label"] == "generated"
    named = _PROMPT.search(row.get("origin") or "") if generated else None
    prompt = next((part for part in named.groups() if part), "") if named else ""
    if generated and row.get("family"):
        prompt = row.get("group") or prompt
    return Example(row["file"], path, generated, row["source"], family, prompt)


def check_classes(examples: Iterable[Example]) -> None:
    """Raises DataError when examples hold one class only: nothing can be told apart then."""
    classes = {example.generated for example in examples}
    if len(classes) < 2:
        raise DataError(
            f"The data has {len(classes)} of the two classes.", hint="Give real images and generated ones, both."
        )


def check_split(train: Iterable[Example], test: Iterable[Example]) -> None:
    """Raises DataError when a file, a family of generators or a prompt is on both sides of a split."""
    train, test = list(train), list(test)
    sides = [
        ({e.file for e in side}, {e.group for e in side if e.generated}, {e.prompt for e in side if e.prompt})
        for side in (train, test)
    ]
    for what, left, right in zip(("file", "family", "prompt"), *sides, strict=True):
        if shared := sorted(left & right):
            raise DataError(f"The split leaks: the {what} {shared[0]!r} is in training and in test.")


def decode(path: Path) -> PIL.Image.Image:
    """The picture of a file, upright, RGB, without its metadata. Raises DataError when it cannot be decoded."""
    try:
        with PIL.Image.open(path) as opened:
            picture = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}", hint="Mend or leave out the file.") from error
    if min(picture.size) < SMALLEST_SIDE:
        raise DataError(f"{path} is {picture.width} x {picture.height} px; the short side must be {SMALLEST_SIDE}.")
    return picture


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def render(picture: PIL.Image.Image, view: View, key: str) -> Frame:
    """A picture as a view shows it. Depends on the pixels, the view and `key` (the file's digest) only.

    Native: resampled by 0.55 to 1, saved at quality 75 to 96. Laundered: short side 256 to 512 px, quality 60 to 95.
    Matched: short side 140 to 400 px, quality 65 to 96, so that small pictures are of both classes.
    Nothing is enlarged. JPEG and WebP alike, whichever class it is.
    """
    seed = hashlib.sha256(f"{key}:{view}".encode()).digest()[:8]
    random = np.random.default_rng(int.from_bytes(seed, "big"))
    factor, quality = _strength(view.protocol, min(picture.size), random)
    resample = PIL.Image.Resampling(int(random.choice(_FILTERS)))
    width, height = (max(SMALLEST_SIDE, round(side * factor)) for side in picture.size)
    small = picture.resize((width, height), resample)
    with io.BytesIO() as buffer:
        small.save(buffer, format="JPEG" if random.random() < 0.6 else "WEBP", quality=quality)
        pixels = np.asarray(PIL.Image.open(buffer).convert("RGB"))
    return Frame(0, np.ascontiguousarray(pixels))


def _strength(protocol: Protocol, short: int, random: np.random.Generator) -> tuple[float, int]:
    """The factor of resampling, at most 1, and the quality of compression."""
    if protocol == "native":
        return random.uniform(0.55, 1.0), int(random.integers(75, 97))
    low, high, least = (256, 512, 60) if protocol == "laundered" else (140, 400, 65)
    factor = random.uniform(low, high) / short
    return min(factor, random.uniform(0.8, 1.0)), int(random.integers(least, 96))


def drop_duplicates(examples: Sequence[Example], distance: int = DUPLICATE_DISTANCE) -> list[Example]:
    """The examples without those within a PDQ distance (any orientation) of an earlier one. Keeps the order.

    What was made of a real picture is compared with other generated ones only. Pictures too plain for PDQ (quality below 50) match by chance and are only dropped for identical hashes.
    """
    kept: list[Example] = []
    seen = np.zeros((len(examples), 32), dtype=np.uint8)
    for example, orientations, quality in _hashed(examples):
        limit = distance if quality >= PDQ_QUALITY else 0
        against = seen[: len(kept)]
        if example.remade:
            against = against[np.array([other.generated for other in kept], dtype=bool)]
        apart = np.bitwise_count(orientations[:, None] ^ against[None]).sum(axis=2, dtype=np.int64)
        if apart.size and apart.min() <= limit:
            continue
        seen[len(kept)] = orientations[0]
        kept.append(example)
    return kept


def _hashed(examples: Sequence[Example]) -> Iterator[tuple[Example, np.ndarray, int]]:
    for example in examples:
        frame = Frame(0, np.ascontiguousarray(np.asarray(decode(example.path))))
        orientations, quality = pdq_orientations(bounded(frame, PDQ_SIDE))
        yield example, orientations, quality
