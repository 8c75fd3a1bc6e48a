"""Lists of signals as files: CSV, JSON, JSON lines, ThreatExchange's and HMA's shapes; read and written as streams."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import ijson

from detectors.signals import KINDS
from moderation.banks.records import LONGEST_EXTERNAL_ID, NewEntry, Signal
from moderation.banks.service import Row
from moderation.errors import InvalidRequestError
from moderation.tables import BankEntry

FORMATS = ("csv", "json", "jsonl", "threatexchange", "hma")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the start of a formula."""

LONGEST_LINE = 65_536

COLUMNS = {
    "kind": ("kind", "type", "signal_type", "hash_type", "indicator_type"),
    "value": ("value", "hash", "indicator", "raw_indicator", "signal", "signal_value"),
    "external_id": ("external_id", "id", "descriptor_id", "indicator_id"),
    "note": ("note", "description", "comment"),
}
"""What a column or field may be called, ours first."""


def read_list(stream: BinaryIO, format: str, *, kind: str = "") -> Iterator[tuple[int, Row]]:
    """Rows of a list with their lines (or the item's number, in JSON): an entry each, or why it is none.

    kind: of rows that do not say theirs. Streams: memory does not grow with the list. Raises InvalidRequestError when the
    format is not one of `FORMATS`, or a CSV has no column of hashes.
    """
    readers: Mapping[str, Callable[[BinaryIO], Iterator[tuple[int, Any]]]] = {
        "csv": _csv_rows,
        "jsonl": _json_lines,
        "json": _json_items,
        "threatexchange": _json_items,
        "hma": _json_items,
    }
    if format not in readers:
        raise InvalidRequestError(
            f"{format[:40]!r} is not a format of lists.", hint=f"Formats are {', '.join(FORMATS)}."
        )
    for line, row in readers[format](stream):
        if isinstance(row, InvalidRequestError):
            yield line, row
        else:
            yield from ((line, entry) for entry in _entries(row, kind))


def format_of(name: str) -> str:
    """The format that a file's name says, CSV where it says none."""
    ending = name.rpartition(".")[2].lower()
    return {"json": "json", "jsonl": "jsonl", "ndjson": "jsonl"}.get(ending, "csv")


def _entries(row: object, kind: str) -> Iterator[Row]:
    if not isinstance(row, dict):
        yield InvalidRequestError(f"{str(row)[:60]!r} is not an object.")
        return
    fields = {str(name).strip().lower(): value for name, value in row.items()}
    nested = fields.get("indicator")
    if isinstance(nested, dict):  # a ThreatExchange descriptor
        fields = {**fields, "indicator": nested.get("indicator"), "type": nested.get("type", fields.get("type"))}
    signals = fields.get("signals", fields)
    by_kind = [(name, signals[name]) for name in KINDS if isinstance(signals, dict) and signals.get(name)]
    if not by_kind:
        by_kind = [(_field(fields, "kind") or kind, _field(fields, "value"))]
    for name, value in by_kind:
        yield _entry(name, value, fields)


def _entry(kind: str, value: object, fields: Mapping[str, Any]) -> Row:
    try:
        if not isinstance(value, str) or not value:
            raise InvalidRequestError("The row has no hash.", hint="Leave such rows away.")
        return NewEntry(Signal.parse(kind, value), _field(fields, "external_id"), _field(fields, "note"))
    except InvalidRequestError as error:
        return error


def _field(fields: Mapping[str, Any], name: str) -> str:
    found = next((fields[column] for column in COLUMNS[name] if fields.get(column) not in (None, "")), "")
    text = str(found)
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULA else text


def _csv_rows(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(_lines(stream))
    first = next(reader, None)
    if first is None:
        return
    header = [column.strip().lower().lstrip("\ufeff") for column in first]
    rows: Iterable[list[str]] = reader
    if not set(header) & {*COLUMNS["value"], *KINDS}:
        if not any(cell and len(cell.strip()) in (16, 32, 64) for cell in first):
            raise InvalidRequestError(
                f"The first line names no column of hashes: {', '.join(first)[:100]!r}.",
                hint="Head the columns `kind,value`, and if you like `external_id,note`.",
            )
        header = ["value"] if len(first) == 1 else ["kind", "value", "external_id", "note"]
        rows = itertools.chain([first], reader)
    while True:
        try:
            cells = next(iter(rows), None)
        except csv.Error as error:
            yield reader.line_num, InvalidRequestError(f"The line is not CSV: {error}.")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield reader.line_num, dict(zip(header, cells, strict=False))


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Lines as text, each bounded: a file without line ends does not fill the memory."""
    while line := stream.readline(LONGEST_LINE):
        yield line.decode("utf-8", "replace")


def _json_lines(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(stream), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, InvalidRequestError(f"The line is not JSON: {error}.")


def _json_items(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Items of an array, or of the array `data` of an object."""
    start = stream.read(1)
    while start.isspace():
        start = stream.read(1)
    prefix = "item" if start == b"[" else "data.item"
    number = 0
    try:
        for number, item in enumerate(ijson.items(_Rest(start, stream), prefix, use_float=True), start=1):
            yield number, item
    except (ijson.JSONError, UnicodeDecodeError) as error:
        yield number + 1, InvalidRequestError(f"The list cannot be read on from here: {error}".split("\n")[0][:200])


class _Rest:
    """A stream whose first byte was read already."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self.start, self.stream = start, stream

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        start, self.start = self.start, b""
        return start or self.stream.read(size)


def write_list(entries: Iterable[BankEntry], format: str) -> Iterator[str]:
    """The list as text, piece by piece. Raises InvalidRequestError when the format is not one of `FORMATS`."""
    writers: Mapping[str, Callable[[Iterable[BankEntry]], Iterator[str]]] = {
        "csv": _write_csv,
        "jsonl": lambda entries: (f"{json.dumps(_plain(entry))}\n" for entry in entries),
        "json": lambda entries: _array((_plain(entry) for entry in entries), "[", "]\n"),
        "threatexchange": lambda entries: _array((_descriptor(entry) for entry in entries), '{"data": [', "]}\n"),
        "hma": lambda entries: _array(({entry.kind: entry.value.hex()} for entry in entries), "[", "]\n"),
    }
    if format not in writers:
        raise InvalidRequestError(
            f"{format[:40]!r} is not a format of lists.", hint=f"Formats are {', '.join(FORMATS)}."
        )
    return writers[format](entries)


def _plain(entry: BankEntry) -> dict[str, str]:
    return {
        "kind": entry.kind,
        "value": entry.value.hex(),
        "external_id": entry.external_id,
        "note": entry.note,
    }


def _descriptor(entry: BankEntry) -> dict[str, str]:
    return {
        "id": entry.external_id[:LONGEST_EXTERNAL_ID] or str(entry.id),
        "type": f"HASH_{entry.kind.upper()}",
        "raw_indicator": entry.value.hex(),
        "description": entry.note,
    }


def _array(items: Iterator[dict[str, str]], start: str, end: str) -> Iterator[str]:
    yield start
    for number, item in enumerate(items):
        yield (",\n" if number else "\n") + json.dumps(item)
    yield end


def _write_csv(entries: Iterable[BankEntry]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["kind", "value", "external_id", "note"])
    for entry in entries:
        writer.writerow([_defused(text) for text in _plain(entry).values()])
        if buffer.tell() > LONGEST_LINE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _defused(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in FORMULA else text
