"""Tables of figures: shown on pages, and downloaded as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Response

Cell = str | int | float | None

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What spreadsheets take for the beginning of a formula."""


@dataclass(frozen=True)
class Table:
    """name: of its file. head: what each column is. rows: cells in that order; None where there is no value."""

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def as_csv(table: Table) -> Response:
    """The table as a download. Names come from anybody: none of them becomes a formula in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.head)
    writer.writerows([safe(cell) for cell in row] for row in table.rows)
    headers = {
        "Content-Disposition": f'attachment; filename="palisade-{table.name}.csv"',
        "Cache-Control": "no-store",
    }
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def safe(cell: Cell) -> Cell:
    """A cell that no spreadsheet executes: text that would begin a formula has an apostrophe before it; numbers stay."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA):
        return f"'{cell}"
    return cell
