"""First contact with a host: every image of a folder, a bucket or a manifest is scanned once."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import fsspec

from moderation.batches import batched
from moderation.database import Database
from moderation.errors import InvalidRequestError, ModerationError, StorageError
from moderation.fetch import SafeClient
from moderation.media.formats import EXTENSIONS, OPENED
from moderation.rescans.records import SOURCES
from moderation.rescans.repository import RescanRepository
from moderation.rescans.sources import SourceError
from moderation.scans.service import HostContext, ScanService, Upload
from moderation.storage import OPEN_ERRORS, STORE_ERRORS, said

BATCH = 500
"""Files that are looked for at once among what was scanned before."""

SUFFIXES = frozenset(f".{extension}" for extension, format in EXTENSIONS.items() if format in OPENED)
MANIFESTS = (".csv", ".jsonl", ".ndjson")
CONTEXT = {"external_id": 200, "uploader": 200, "surface": 100, "locale": 35}
"""What may be said of a file, and in how many characters."""


@dataclass(frozen=True)
class Item:
    """A file that is to be scanned. where: its URL or path. number: its line in a manifest, 0 elsewhere."""

    where: str
    context: HostContext
    number: int = 0


@dataclass(frozen=True)
class Imported:
    """What became of a file: `scanned`, `known` (scanned under this external id before), or an error. action: the verdict."""

    item: Item
    state: str
    action: str = ""
    error: ModerationError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The line of a failure."""
        error = self.error.as_dict() if self.error else None
        return {"file": self.item.where, "line": self.item.number or None, "error": error}


def items(source: str) -> Iterator[Item]:
    """The files of a source in order: of a folder or a bucket, all image-like ones below; of a manifest, its rows.

    A manifest is CSV with a header or JSON lines: `file` or `url`, and if you like `external_id`, `uploader`, `surface`,
    `locale`. Relative files are below the manifest. Raises InvalidRequestError where nothing is there, StorageError where the
    source cannot be read.
    """
    try:
        yield from _items(source)
    except STORE_ERRORS as error:
        raise StorageError(
            f"{source[:200]} cannot be read: {said(error)}.",
            hint="Are its credentials right? For s3://, those of AWS_ACCESS_KEY_ID or a profile.",
        ) from error


def _items(source: str) -> Iterator[Item]:
    files, root = _open(source)
    if root.lower().endswith(MANIFESTS):
        yield from _manifest(files, root)
        return
    for folder, _, names in files.walk(root, on_error="raise"):
        for name in sorted(names):
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                path = f"{folder}/{name}"
                yield Item(files.unstrip_protocol(path), HostContext(external_id=path.removeprefix(f"{root}/")))


def _open(source: str) -> tuple[Any, str]:
    scheme = source.split("://", 1)[0] if "://" in source else "file"
    if scheme not in SOURCES or scheme in ("http", "https"):
        raise InvalidRequestError(
            f"Nothing is imported from {scheme[:20]!r}.", hint="Give a folder, a bucket's URL, or a manifest with URLs."
        )
    try:
        files, root = fsspec.core.url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise InvalidRequestError(
            f"{source[:200]!r} needs a library that is not installed: {error}.",
            hint="For s3:// run `pip install 'palisade[s3]'`.",
        ) from None
    try:
        files.info(root)  # `exists` takes every refusal for absence
    except FileNotFoundError:
        raise InvalidRequestError(f"There is no {source[:200]!r}.") from None
    return files, str(root).rstrip("/")


def _manifest(files: Any, path: str) -> Iterator[Item]:
    folder = path.rpartition("/")[0]
    with files.open(path, "rt", encoding="utf-8-sig", newline="") as stream:
        rows = _csv_rows(stream) if path.lower().endswith(".csv") else _json_rows(stream)
        for number, row in rows:
            where = str(row.get("url") or row.get("file") or "")
            if not where:
                raise InvalidRequestError(
                    f"Line {number} of the manifest names no `file` or `url`.",
                    hint="Head its columns `file,external_id`.",
                )
            said = {name: str(row.get(name) or "") for name in CONTEXT}
            said["external_id"] = said["external_id"] or where
            full = where if "://" in where else files.unstrip_protocol(f"{folder}/{where}")
            yield Item(full, HostContext(**said), number)


def _csv_rows(stream: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(stream)
    for row in reader:
        yield reader.line_num, row


def _json_rows(stream: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidRequestError(f"Line {number} of the manifest is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise InvalidRequestError(f"Line {number} of the manifest is not an object.")
        yield number, row


class Importer:
    """Scans files as uploads are scanned; the same bytes are measured once. Run again, it takes up where it was."""

    def __init__(self, database: Database, scans: ScanService, client: SafeClient, *, max_bytes: int) -> None:
        self.database = database
        self.scans = scans
        self.client = client
        self.max_bytes = max_bytes

    def run(
        self, tenant: str, found: Iterable[Item], *, policy: str = "", stopped: Callable[[], bool]
    ) -> Iterator[Imported]:
        """What becomes of each file, in order. stopped: asked between batches; what was begun is ended."""
        with ThreadPoolExecutor(self.scans.scanner.concurrency) as pool:
            for batch in batched(found, BATCH):
                known = self._known(tenant, batch)
                waiting: list[Imported | Future[Imported]] = [
                    Imported(item, "known")
                    if item.context.external_id in known
                    else pool.submit(self._scan, tenant, item, policy, stopped)
                    for item in batch
                ]
                for each in waiting:
                    done = each if isinstance(each, Imported) else each.result()
                    if done.state != "left":
                        yield done
                if stopped():
                    return

    def _known(self, tenant: str, batch: list[Item]) -> set[str]:
        with self.database.read() as session:
            return RescanRepository(session).known_external_ids(tenant, [item.context.external_id for item in batch])

    def _scan(self, tenant: str, item: Item, policy: str, stopped: Callable[[], bool]) -> Imported:
        if stopped():
            return Imported(item, "left")
        for name, value in item.context.as_mapping().items():
            if len(value) > CONTEXT[name]:
                error = InvalidRequestError(
                    f"{name} has {len(value)} characters.", hint=f"At most {CONTEXT[name]} are kept."
                )
                return Imported(item, "failed", error=error)
        try:
            scan = self.scans.scan(tenant, Upload(self._read(item.where), context=item.context, policy=policy))
        except ModerationError as error:
            return Imported(item, "failed", error=error)
        return Imported(item, "scanned", scan.action)

    def _read(self, where: str) -> bytes:
        if where.startswith(("http://", "https://")):
            return self.client.fetch(where, max_bytes=self.max_bytes).data
        try:
            with fsspec.open(where, "rb") as stream:
                return bytes(stream.read(self.max_bytes + 1))
        except OPEN_ERRORS as error:
            raise SourceError(f"It cannot be read: {type(error).__name__}: {error}.") from error
