"""Text out of files, which anybody may have written: bounded, printable, valid."""

import unicodedata
from typing import Any

LIMIT = 2_000


def clean(value: object, limit: int = LIMIT) -> str:
    """The text of a value without control characters, cut to `limit` characters; '' for what is not text or a number."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value)[: limit * 4]
    kept = "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else " " for c in text)
    kept = kept.strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def cleaned(values: dict[str, Any]) -> dict[str, Any]:
    """`clean` for every text among the values; lists of texts are cut to twenty."""
    return {
        key: [clean(item, 300) for item in value[:20]]
        if isinstance(value, list)
        else value
        if isinstance(value, bool | int)
        else clean(value)
        for key, value in values.items()
    }
