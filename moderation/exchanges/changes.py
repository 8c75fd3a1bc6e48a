"""What an exchange says: pages of changes to its signals."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

HEX_DIGITS = {"pdq": 64, "md5": 32, "sha256": 64}
"""The kinds of signals that are taken, and how many hexadecimal digits each has."""

KEPT_TEXT = 200  # characters of labels, notes and ids that come from a peer


class MalformedError(ValueError):
    """A record that cannot be used; the text says why. The other records of its page can."""


@dataclass(frozen=True)
class Change:
    """What a peer now says of one of its records.

    kind, value: one of `HEX_DIGITS` and its lower-case digits. Both are empty where a record was withdrawn without
    saying what it held.
    entry: the peer's id of the record. A record may hold several signals, which are several changes.
    withdrawn: the signal (all of the record's, where `value` is empty) must no longer match.
    """

    kind: str
    value: str
    entry: str
    withdrawn: bool = False
    labels: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Page:
    """Changes that are applied together with the checkpoint, or not at all.

    checkpoint: JSON text to go on from after this page; it holds no credentials.
    done: the peer has no more for now. The page that says so may hold no changes.
    ignored: records of kinds that are not taken. malformed: why each unusable record was left out.
    restarted: a listing of everything begins with this page. Once a page is done, in this run or in one that went on
    from its checkpoints, whatever was held before and was not listed since has been withdrawn.
    """

    changes: tuple[Change, ...]
    checkpoint: str
    done: bool
    ignored: int = 0
    malformed: tuple[str, ...] = ()
    restarted: bool = False

    def entries(self) -> dict[str, tuple[Change, ...]]:
        """What each record that the page names holds from now on, in order; nothing where it was withdrawn.

        A record is always told wholly: what is held of it and not among these changes has been withdrawn.
        """
        held: dict[str, dict[tuple[str, str], Change]] = {}
        for change in self.changes:
            own = held.setdefault(change.entry, {})
            if not change.withdrawn:
                own[change.kind, change.value] = change
            elif change.value:
                own.pop((change.kind, change.value), None)
            else:
                own.clear()
        return {entry: tuple(own.values()) for entry, own in held.items()}


class Peer(Protocol):
    """An exchange that can be read from a checkpoint on."""

    name: str

    def pages(self, checkpoint: str | None) -> Iterator[Page]:
        """Pages from after `checkpoint` on, or from the start; the last one is `done`.

        Raises ExchangeError where the peer cannot be read on; the pages before it count.
        """


def signal(kind: str, value: object) -> str:
    """The value of a signal in lower case. Raises MalformedError where it is none of that kind."""
    if not isinstance(value, str):
        raise MalformedError(f"the {kind} value is {type(value).__name__}, not text")
    lower, digits = value.strip().lower(), HEX_DIGITS[kind]
    if len(lower) != digits:
        raise MalformedError(f"the {kind} value has {len(lower)} characters, not {digits}")
    if not re.fullmatch("[0-9a-f]+", lower):
        raise MalformedError(f"the {kind} value is not hexadecimal")
    return lower


def text(value: object) -> str:
    """A peer's text as it may be kept and shown: one line, printable, bounded."""
    printable = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * KEPT_TEXT])
    return " ".join(printable.split())[:KEPT_TEXT]


def labelled(values: object) -> tuple[str, ...]:
    """A peer's tags in order, each once. Raises MalformedError where they are no list."""
    if not isinstance(values, list | tuple | set):
        raise MalformedError(f"the tags are {type(values).__name__}, not a list")
    return tuple(sorted({shown for value in values if (shown := text(value))}))
