"""A list of signals in a local file: CSV, JSON, JSON lines, or the `threatexchange` library's own lines."""

import codecs
import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from moderation.exchanges.changes import HEX_DIGITS, Change, MalformedError, Page, labelled, signal, text
from moderation.exchanges.remote import Checkpoint, RemotePeer, Strict, shortened
from moderation.exchanges.transport import BrokenError

LONGEST_LINE = 65_536  # bytes
LONGEST_ID = 100  # characters; what is left of an entry's 200 holds the signal
BLOCK = 65_536
SOLID = re.compile(r"\S")
FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "lines"}

Row = tuple[int, object]
"""The number of a row in its file, and what it holds; text where it could not be read as a row."""


class FileConfig(Strict):
    path: Path = Field(description="The file, by its absolute path.")
    format: Literal["csv", "json", "jsonl", "lines"] | None = Field(None, description="Default: as the name ends.")
    type: Literal["pdq", "md5", "sha256"] | None = Field(None, description="Kind of the rows that name none.")
    page_size: int = Field(1_000, ge=1, le=100_000, description="Rows of one page.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("it must be absolute")
        return value

    @property
    def identity(self) -> str:
        """A digest of what decides how the file is read."""
        return hashlib.sha256(self.model_dump_json(exclude={"page_size"}).encode()).hexdigest()[:16]


class FileCheckpoint(Checkpoint):
    """sha256: of the whole file as it was last read to its end; empty within a reading."""

    sha256: str


class ListFile(RemotePeer):
    """Reads the whole file wherever it has changed since it was last read to its end, and nothing otherwise."""

    def __init__(self, name: str, config: FileConfig) -> None:
        super().__init__(name)
        self._config = config

    def _pages(self, checkpoint: str | None) -> Iterator[Page]:
        if self._config.path.exists() and not self._config.path.is_file():
            raise BrokenError(f"{self._config.path} is not a file", "Check the path.")  # a pipe would be waited for
        try:
            with self._config.path.open("rb") as file:
                yield from self._read(file, FileCheckpoint.read(checkpoint, self._config.identity))
        except OSError as error:
            raise BrokenError(
                f"{self._config.path} cannot be read: {error.strerror or type(error).__name__}",
                "Check the path and its rights.",
            ) from None

    def _read(self, file: BufferedReader, mark: FileCheckpoint | None) -> Iterator[Page]:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        end = FileCheckpoint(of=self._config.identity, sha256=found).model_dump_json()
        if mark and mark.sha256 == found:
            yield Page((), end, done=True)
            return
        before = _state(file)
        file.seek(0)
        within = FileCheckpoint(of=self._config.identity, sha256="").model_dump_json()
        read, page = 0, _Builder(self._config, restarted=True)
        for row in self._rows(file):
            page.add(row)
            if page.rows == self._config.page_size:
                read += len(page.changes)
                yield page.built(within, done=False)
                page = _Builder(self._config, restarted=False)
        if _state(file) != before:
            raise BrokenError(
                f"{self._config.path} was changed while it was read", "Run it again; replace files by renaming."
            )
        if not read + len(page.changes):
            raise BrokenError(
                f"{self._config.path} holds no signal at all, which would withdraw every one",
                "Check the file; to withdraw every signal, remove the exchange.",
            )
        yield page.built(end, done=True)

    def _rows(self, file: BufferedReader) -> Iterator[Row]:
        """The rows. Raises BrokenError where the file as a whole cannot be read."""
        kind = self._config.format or FORMATS.get(self._config.path.suffix.lower())
        if kind is None:
            raise BrokenError(
                f"{self._config.path.name} has an ending that says no format",
                f"Name it {', '.join(FORMATS)}, or set format.",
            )
        try:
            yield from READERS[kind](file)
        except UnicodeDecodeError as error:
            raise BrokenError(f"{self._config.path} is not UTF-8: {error.reason}", "Save it as UTF-8.") from None


class _Builder:
    """One page as it grows."""

    def __init__(self, config: FileConfig, *, restarted: bool) -> None:
        self._config, self._restarted = config, restarted
        self.rows = self.ignored = 0
        self.changes: list[Change] = []
        self.malformed: list[str] = []

    def add(self, row: Row) -> None:
        number, content = row
        self.rows += 1
        try:
            change = _change(content, self._config.type)
        except MalformedError as error:
            self.malformed.append(f"row {number}: {error}")
            return
        if change:
            self.changes.append(change)
        else:
            self.ignored += 1

    def built(self, checkpoint: str, *, done: bool) -> Page:
        return Page(
            tuple(self.changes), checkpoint, done, self.ignored, shortened(self.malformed), restarted=self._restarted
        )


def _change(row: object, default: str | None) -> Change | None:
    """The signal of a row; None where it is of a kind that is not taken. Rows that share an id stay records apart."""
    if not isinstance(row, Mapping):
        raise MalformedError(row if isinstance(row, str) else "it is not an object")
    named = row.get("type") or row.get("signal_type") or default
    if not named:
        raise MalformedError("it names no type, and the exchange has no default one")
    kind = str(named).strip().lower().removeprefix("hash_").replace("-", "")
    if kind not in HEX_DIGITS:
        return None
    value = signal(kind, row.get("value") or row.get("signal") or "")
    tags = row.get("labels") or row.get("tags") or []
    return Change(
        kind,
        value,
        entry=f"{text(row['id'])[:LONGEST_ID]} {kind}:{value}" if row.get("id") else f"{kind}:{value}",
        labels=labelled(tags.replace(";", " ").split() if isinstance(tags, str) else tags),
        note=text(row.get("note") or ""),
    )


def _state(file: BufferedReader) -> tuple[int, int]:
    """What changes when the file is written to."""
    known = os.fstat(file.fileno())
    return known.st_size, known.st_mtime_ns


def _lines(file: BufferedReader) -> Iterator[tuple[int, str]]:
    """The lines, numbered from 1. Raises BrokenError where one is too long to be one."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise BrokenError(f"line {number} has more than {LONGEST_LINE:,} bytes", "Check the file.")
        yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")


def _csv(file: BufferedReader) -> Iterator[Row]:
    numbers = [0]

    def lines() -> Iterator[str]:
        for number, line in _lines(file):
            numbers[0] = number
            yield line

    reader = csv.reader(lines(), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if "value" not in names and "signal" not in names:
            raise BrokenError(
                "its first line names no column 'value'", "Begin with a line such as: type,value,id,labels,note"
            )
        for cells in reader:
            if cells:
                yield numbers[0], _row(names, cells)
    except csv.Error as error:
        failure = f"line {numbers[0]} is not CSV: {error}"
    else:
        return
    raise BrokenError(failure, "Check its quotes.")


def _row(names: list[str], cells: list[str]) -> object:
    if len(cells) > len(names):
        return f"it has {len(cells)} cells, the first line has {len(names)}"
    return dict(zip(names, cells, strict=False))


def _jsonl(file: BufferedReader) -> Iterator[Row]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, "it is not JSON"


def _plain(file: BufferedReader) -> Iterator[Row]:
    """The library's own files: on each line a type and a value, or a value alone."""
    for number, line in _lines(file):
        *named, value = line.split() or [""]
        if value and len(named) <= 1:
            yield number, {"type": named[0] if named else None, "value": value}
        elif value:
            yield number, "it has more than a type and a value"


def _json(file: BufferedReader) -> Iterator[Row]:
    """The objects of one array, which is never held whole."""
    text = _Text(file)
    if text.next() != "[":
        raise BrokenError("it is not a JSON array", "Write an array of objects, or JSON lines in a .jsonl file.")
    text.at += 1
    number, mark = 0, "," if text.next() != "]" else "]"
    while mark == ",":
        number += 1
        yield number, text.value(number)
        mark = text.next()
        text.at += 1
    if mark != "]":
        raise BrokenError(
            f"row {number} is followed by neither a comma nor the array's end", "Check that the file is whole."
        )


class _Text:
    """JSON text as it is read, from `at` on."""

    def __init__(self, file: BufferedReader) -> None:
        self._blocks, self._decoder = _blocks(file), json.JSONDecoder()
        self._text, self.at = "", 0

    def next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            if found := SOLID.search(self._text, self.at):
                self.at = found.start()
                return found[0]
            self.at = len(self._text)
            if not self._more():
                return ""

    def value(self, number: int) -> object:
        """The value that comes next. Raises BrokenError where there is none, or a longer one than a row can be."""
        self.next()
        while len(self._text) - self.at <= LONGEST_LINE + BLOCK:
            try:
                found, end = self._decoder.raw_decode(self._text, self.at)
            except (json.JSONDecodeError, RecursionError):
                end = len(self._text)
            if end < len(self._text):
                self.at = end
                return found
            if not self._more():
                break
        raise BrokenError(f"it is not JSON from row {number} on", "Check that the file is whole.")

    def _more(self) -> bool:
        block = next(self._blocks, "")
        self._text, self.at = self._text[self.at :] + block, 0
        return bool(block)


def _blocks(file: BufferedReader) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while block := file.read(BLOCK):
        yield decoder.decode(block)
    decoder.decode(b"", final=True)


READERS: dict[str, Callable[[BufferedReader], Iterator[Row]]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "lines": _plain,
}
