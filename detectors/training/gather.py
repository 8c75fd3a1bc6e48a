"""Gathers pictures from packages: real ones of other kinds, pictures of pages, and pictures of other generators.

A detector that knows four sources of real pictures takes others for generated ones, and one that knows four families of
generators passes others over. The sources are listed in `negatives.toml` and `generated.toml`; the same packages give the
same set. A set is written whole or not at all, source by source.
"""

import csv
import hashlib
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from detectors.image import Frame
from detectors.nsfw import NsfwDetector
from detectors.training.data import DataError, decode
from detectors.training.generated import Made, facts, taken_from
from detectors.training.packages import Told, run, unpacked

LISTED = Path(__file__).with_name("negatives.toml")
GENERATED = Path(__file__).with_name("generated.toml")
COLUMNS = (
    *("file", "label", "source", "family", "width", "height", "stored", "bytes", "origin", "licence"),
    *("group", "model"),
)
LARGEST = 1280
"""Pixels of the short side; larger pictures are reduced."""
LEAST_BYTES = 12_000
MOST_EXPLICIT = 0.2
LEAST_SIDE = 120
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PAGES = "pages"

Suits = Callable[[PIL.Image.Image], bool]


@dataclass(frozen=True)
class Source:
    """One source of pictures. packages: groups of names, of each group the first that the registry has.

    licence: as the packages state it; the pictures are for training and are not passed on. made: what is listed of models;
    a source that has it holds generated pictures, all of them listed, and has no kind, files or count.
    """

    name: str
    kind: str
    packages: tuple[tuple[str, ...], ...]
    files: tuple[str, ...]
    count: int
    licence: str = ""
    made: tuple[Made, ...] = ()

    @property
    def screened(self) -> bool:
        """Whether its pictures may be explicit, and are kept only where they suit."""
        return self.kind == "photo" or bool(self.made)


def sources(listed: Path = LISTED) -> list[Source]:
    """The sources of a list, in its order. Raises DataError."""
    try:
        rows = tomllib.loads(listed.read_text("utf-8"))["source"]
        return [_source(row) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{listed} is not a list of sources: {error!r}.") from error


def _source(row: dict[str, Any]) -> Source:
    made = tuple(Made.of(one) for one in row.get("made", ()))
    return Source(
        name=row["name"],
        kind="" if made else row["kind"],
        packages=tuple(tuple(group) for group in row["packages"]),
        files=() if made else tuple(row["files"]),
        count=0 if made else int(row["count"]),
        licence=row["licence"],
        made=made,
    )


def gather(
    wanted: Sequence[Source],
    out: Path,
    told: Told,
    *,
    pages: int = 0,
    root: Path | None = None,
    suits: Suits = lambda _: True,
) -> Path:
    """Write the pictures of the sources below `out`, and `manifest.csv`; the manifest's path.

    pages: pictures of so many pages of documentation, taken by Chromium. root: a folder that packages were unpacked in
    already; without it they are fetched. suits: whether a photograph or a generated picture may be kept. Sources that are there already are kept.
    Raises DataError.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for source in wanted:
            if not (out / source.name).is_dir():
                folder = root or unpacked(source.packages, Path(scratch), told)
                fit = (found for found in chosen(source, folder) if not source.screened or suits(found[1]))
                told(f"{source.name}: {_keep(source.name, fit, out)} pictures")
        if pages and not (out / PAGES).is_dir():
            folder = root or Path("/usr/share/doc")
            told(f"{PAGES}: {_keep(PAGES, taken(folder, pages, Path(scratch)), out)} pictures")
    return _manifest(out, [*wanted, Source(PAGES, "screenshot", (), (), pages, "as the documents state")])


def screened_by(detector: NsfwDetector) -> Suits:
    """Whether a picture scores at most MOST_EXPLICIT as explicit."""

    def suits(picture: PIL.Image.Image) -> bool:
        frame = Frame(0, np.ascontiguousarray(np.asarray(picture)))
        return detector.scores([frame])[0] <= MOST_EXPLICIT

    return suits


def chosen(source: Source, folder: Path) -> Iterator[tuple[str, PIL.Image.Image]]:
    """The source's pictures with their names, all that are listed or evenly chosen; what is too small, or cannot be decoded, is passed over."""
    if source.made:
        yield from ((file, it) for file, it in taken_from(source.made, folder) if min(it.size) >= LEAST_SIDE)
        return
    found = sorted(
        {
            path
            for pattern in source.files
            for path in folder.glob(pattern)
            if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size >= LEAST_BYTES
        }
    )
    step = max(1.0, len(found) / source.count)
    for number in range(min(source.count, len(found))):
        path = found[int(number * step)]
        try:
            picture = on_ground(path)
        except DataError:
            continue
        if min(picture.size) >= LEAST_SIDE:
            yield str(path.relative_to(folder)), picture


def on_ground(path: Path) -> PIL.Image.Image:
    """A picture, what is transparent filled with a plain colour that its bytes choose. Raises DataError."""
    try:
        with PIL.Image.open(path) as opened:
            through = opened.convert("RGBA") if "A" in opened.getbands() or "transparency" in opened.info else None
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}") from error
    if through is None:
        return decode(path)
    colour = tuple(hashlib.sha256(path.read_bytes()).digest()[:3])
    ground = PIL.Image.new("RGBA", through.size, (*colour, 255))
    return PIL.Image.alpha_composite(ground, through).convert("RGB")


def taken(folder: Path, count: int, scratch: Path) -> Iterator[tuple[str, PIL.Image.Image]]:
    """Pictures of HTML pages below a folder, by Chromium, in windows of several sizes; its network is cut off."""
    found = sorted(path for path in folder.rglob("*.html") if path.stat().st_size >= LEAST_BYTES)
    if not found:
        raise DataError(f"There are no pages below {folder}.", hint="Install a -doc package, or ask for 0 pages.")
    rng, shot = np.random.default_rng(0), scratch / "page.png"
    step = max(1.0, len(found) / count)
    for number in range(min(count, len(found))):
        path = found[int(number * step)]
        size = f"{rng.integers(360, 1600)},{rng.integers(480, 1000)}"
        switches = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--proxy-server=127.0.0.1:9",
        )
        shot.unlink(missing_ok=True)
        run("chromium", *switches, f"--window-size={size}", f"--screenshot={shot}", path.as_uri())
        if shot.is_file():
            yield str(path.relative_to(folder)), decode(shot)


def _keep(name: str, pictures: Iterator[tuple[str, PIL.Image.Image]], out: Path) -> int:
    """Write a source's pictures as PNG, or none; how many. Raises DataError when there are none."""
    part, origins = out / f".{name}.part", list[str]()
    part.mkdir(exist_ok=True)
    for origin, picture in pictures:
        bounded(picture).save(part / f"{len(origins):04d}.png", compress_level=3)
        origins.append(origin)
    if not origins:
        raise DataError(f"No picture of {name} was found.", hint="Has the package changed? See the list of sources.")
    (part / "origins.txt").write_text("\n".join(origins) + "\n", encoding="utf-8")
    part.replace(out / name)
    return len(origins)


def bounded(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture, its short side reduced to LARGEST where it is longer."""
    factor = min(1.0, LARGEST / min(picture.size))
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture if factor == 1 else picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _manifest(out: Path, gathered: Sequence[Source]) -> Path:
    path, part = out / "manifest.csv", out / ".manifest.part"
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for source in gathered:
            name, folder = source.name, out / source.name
            origins = (folder / "origins.txt").read_text("utf-8").splitlines() if folder.is_dir() else []
            for file, origin in zip(sorted(folder.glob("*.png")), origins, strict=True):
                with PIL.Image.open(file) as picture:
                    size = picture.size
                stored = (*size, "PNG", file.stat().st_size, origin, source.licence)
                label = "generated" if source.made else "real"
                family, group, model = facts(source.made, origin) if source.made else (source.kind, "", "")
                writer.writerow((f"{name}/{file.name}", label, name, family, *stored, group, model))
    part.replace(path)
    return path
