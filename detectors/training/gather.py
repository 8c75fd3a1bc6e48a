"""Gathers real pictures of other kinds from Debian's packages, and pictures of pages: what photographs alone do not teach.

A detector that knows four sources of real pictures takes others for generated ones. The sources are listed in
`negatives.toml`; the same packages give the same set. A set is written whole or not at all, source by source.
"""

import csv
import hashlib
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from detectors.training.data import DataError, decode

LISTED = Path(__file__).with_name("negatives.toml")
COLUMNS = ("file", "label", "source", "family", "width", "height", "stored", "bytes", "origin")
LARGEST = 1280
"""Pixels of the short side; larger pictures are reduced."""
LEAST_BYTES = 12_000
LEAST_SIDE = 120
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PAGES = "pages"

Told = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One source of real pictures. packages: groups of names, of each group the first that the archive has."""

    name: str
    kind: str
    packages: tuple[tuple[str, ...], ...]
    files: tuple[str, ...]
    count: int


def sources(listed: Path = LISTED) -> list[Source]:
    """The sources of a list, in its order. Raises DataError."""
    try:
        rows = tomllib.loads(listed.read_text("utf-8"))["source"]
        return [
            Source(r["name"], r["kind"], tuple(tuple(g) for g in r["packages"]), tuple(r["files"]), int(r["count"]))
            for r in rows
        ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{listed} is not a list of sources: {error!r}.") from error


def gather(wanted: Sequence[Source], out: Path, told: Told, *, pages: int = 0, root: Path | None = None) -> Path:
    """Write the pictures of the sources below `out`, and `manifest.csv`; the manifest's path.

    pages: pictures of so many pages of documentation, taken by Chromium. root: a folder that packages were unpacked in
    already; without it they are fetched by `apt-get download`. Sources that are there already are kept. Raises DataError.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for source in wanted:
            if not (out / source.name).is_dir():
                folder = root or unpacked(source, Path(scratch), told)
                told(f"{source.name}: {_keep(source.name, chosen(source, folder), out)} pictures")
        if pages and not (out / PAGES).is_dir():
            folder = root or Path("/usr/share/doc")
            told(f"{PAGES}: {_keep(PAGES, taken(folder, pages, Path(scratch)), out)} pictures")
    return _manifest(out, {source.name: source.kind for source in wanted} | {PAGES: "screenshot"})


def unpacked(source: Source, scratch: Path, told: Told) -> Path:
    """A folder with the source's packages unpacked. Raises DataError when the archive has none of a group's names."""
    folder = scratch / "packages"
    for group in source.packages:
        done = folder / f".{group[0]}"
        if done.is_file():
            continue
        for name in group:
            told(f"fetching {name}")
            if _fetch(name, scratch):
                break
        else:
            raise DataError(
                f"The package archive has none of {', '.join(group)}.", hint="Run `apt-get update`; Debian is needed."
            )
        for package in scratch.glob("*.deb"):
            folder.mkdir(exist_ok=True)
            _run("dpkg-deb", "-x", str(package), str(folder))
            package.unlink()
        done.touch()
    return folder


def _fetch(name: str, folder: Path) -> bool:
    return _run("apt-get", "download", "-qq", name, cwd=folder) and any(folder.glob("*.deb"))


def _run(*command: str, cwd: Path | None = None) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, check=False, capture_output=True, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} cannot be run: {error}.", hint="Gathering needs Debian's tools.") from error


def chosen(source: Source, folder: Path) -> Iterator[tuple[str, PIL.Image.Image]]:
    """The source's pictures with their names, evenly chosen; what is too small, or cannot be decoded, is passed over."""
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
        _run("chromium", *switches, f"--window-size={size}", f"--screenshot={shot}", path.as_uri())
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
        raise DataError(f"No picture of {name} was found.", hint="Has the package changed? See negatives.toml.")
    (part / "origins.txt").write_text("\n".join(origins) + "\n", encoding="utf-8")
    part.replace(out / name)
    return len(origins)


def bounded(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture, its short side reduced to LARGEST where it is longer."""
    factor = min(1.0, LARGEST / min(picture.size))
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture if factor == 1 else picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _manifest(out: Path, kinds: dict[str, str]) -> Path:
    path, part = out / "manifest.csv", out / ".manifest.part"
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for name, kind in kinds.items():
            origins = (out / name / "origins.txt").read_text("utf-8").splitlines() if (out / name).is_dir() else []
            for file, origin in zip(sorted((out / name).glob("*.png")), origins, strict=True):
                with PIL.Image.open(file) as picture:
                    size = picture.size
                writer.writerow((f"{name}/{file.name}", "real", name, kind, *size, "PNG", file.stat().st_size, origin))
    part.replace(path)
    return path
