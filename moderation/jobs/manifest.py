"""Reads manifests of addresses as they come: a line of JSON, or of CSV, for each image."""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from moderation.errors import InvalidRequestError, ModerationError
from moderation.jobs.records import BadRow, Order
from moderation.scans.context import FIELDS, host_context, policy_name, review_facts

KINDS = {"application/x-ndjson": "jsonl", "application/jsonl": "jsonl", "text/csv": "csv"}
"""What manifests come as, by content type."""

LONGEST_LINE = 16_384
LONGEST_URL = 8_192

COLUMNS = ("url", *FIELDS)

Row = Order | BadRow


class ManifestReader:
    """Takes a manifest in pieces of any size; holds no more than a line of it.

    kind: `jsonl`, an object a line; or `csv`, whose first line names the columns. A row is one line: fields with line breaks
    in them are not taken. Blank lines are passed over, and counted. columns, values: `url`, and what scans take.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.line = 0
        self.columns: Sequence[str] | None = None
        self._rest = b""
        self._skips = False

    def feed(self, piece: bytes) -> Iterator[Row]:
        """The rows that this piece completes. Raises InvalidRequestError where the columns are not such."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._take(line)
        if len(self._rest) > LONGEST_LINE:
            # too long already: what is held of it is dropped, and the rest of it when it comes
            self._rest, self._skips = b"", True

    def end(self) -> Iterator[Row]:
        """The last row, where no line break ends it."""
        if self._rest or self._skips:
            yield from self._take(self._rest)

    def _take(self, line: bytes) -> Iterator[Row]:
        self.line += 1
        if self._skips or len(line) > LONGEST_LINE:
            self._skips = False
            yield BadRow(self.line, f"The line has more than {LONGEST_LINE:,} bytes.")
            return
        try:
            row = self._read(line)
        except (InvalidRequestError, ValueError, RecursionError, csv.Error) as error:
            if self.kind == "csv" and self.columns is None:
                raise
            yield BadRow(self.line, _why(error))
            return
        if row is not None:
            yield row

    def _read(self, line: bytes) -> Order | None:
        text = line.decode("utf-8-sig" if self.line == 1 else "utf-8").rstrip("\r")
        if not text.strip():
            return None
        if self.kind == "jsonl":
            return self._order(json.loads(text))
        cells = next(csv.reader([text], strict=True))
        if self.columns is None:
            self.columns = _columns(cells)
            return None
        if len(cells) != len(self.columns):
            raise InvalidRequestError(f"The row has {len(cells)} fields, the first line names {len(self.columns)}.")
        return self._order(dict(zip(self.columns, cells, strict=True)))

    def _order(self, values: Any) -> Order:
        if not isinstance(values, dict) or not isinstance(values.get("url"), str) or not values["url"].strip():
            raise InvalidRequestError("The row has no text `url`.")
        unknown = sorted(set(values) - set(COLUMNS))
        if unknown:
            raise InvalidRequestError(f"The row has unknown fields: {', '.join(map(repr, unknown))[:200]}.")
        if len(values["url"]) > LONGEST_URL:
            raise InvalidRequestError(f"The url has more than {LONGEST_URL:,} characters.")
        return Order(
            source=values["url"].strip(),
            context=host_context(values),
            policy=policy_name(values),
            line=self.line,
            **review_facts(values),
        )


def kind_of(content_type: str) -> str:
    """Raises InvalidRequestError where a manifest does not come as that."""
    plain = content_type.partition(";")[0].strip().lower()
    if plain not in KINDS:
        raise InvalidRequestError(
            f"A manifest is not {plain[:60]!r}.",
            hint=f"Send it as {', '.join(KINDS)}.",
            code="unsupported_type",
            status=415,
        )
    return KINDS[plain]


def _columns(cells: Sequence[str]) -> Sequence[str]:
    names = [cell.strip().lower() for cell in cells]
    wrong = sorted(set(names) - set(COLUMNS))
    if "url" not in names or wrong or len(set(names)) != len(names):
        raise InvalidRequestError(
            f"The first line does not name the columns: {', '.join(names)[:200]!r}.",
            hint=f"Name `url`, and any of {', '.join(FIELDS)}, each once.",
        )
    return names


def _why(error: Exception) -> str:
    if isinstance(error, ModerationError):
        return error.message
    return f"The line cannot be read: {error}."[:300]
