"""The newest hashes of a tenant in memory, so that what is like an image is found without reading them all in a request."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from moderation.database import Database

MOST_HELD = 100_000
"""Images of a tenant that are held, the newest: 8 MB. What was hosted before them is searched by takedown notices and re-scans only."""

MOST_TENANTS = 4
"""Tenants of which a process holds them, the ones that were asked for last."""

OVERLAP = 200
"""Newest rows that are read again: of two rows that are written at once, the older may be seen last."""

Rows = Sequence[tuple[str, bytes]]
Source = Callable[[Session, str, str, int], Rows]
Hashes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Window:
    """ids: of the rows, sorted. hashes: uint64 (n, 4), row by row. of: which row each hash is of. whole: whether these are all."""

    ids: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    of: NDArray[np.int32]
    whole: bool

    def nearest(self, wanted: Hashes, most: int) -> tuple[list[str], list[int]]:
        """The nearest rows, by distance in bits from the nearest of the wanted hashes (n, 32)."""
        if not len(wanted) or not len(self.ids):
            return [], []
        apart = np.full(len(self.hashes), 256, np.uint16)
        for one in np.ascontiguousarray(wanted).view(np.uint64):
            np.minimum(apart, np.bitwise_count(self.hashes ^ one).sum(axis=1, dtype=np.uint16), out=apart)
        rows = np.full(len(self.ids), 256, np.uint16)
        np.minimum.at(rows, self.of, apart)
        order = np.argsort(rows, kind="stable")[:most]
        return [bytes(name).decode() for name in self.ids[order]], rows[order].tolist()


class HashWindows:
    """Windows over a table, by tenant. Safe to share between threads; every search reads what is new since the last."""

    def __init__(self, database: Database, source: Source, *, most: int = MOST_HELD) -> None:
        self.database = database
        self.source = source
        self.most = most
        self._held: OrderedDict[str, Window] = OrderedDict()
        self._reading = threading.Lock()

    def of(self, tenant: str) -> Window:
        with self._reading:
            known = self._held.pop(tenant, None)
            self._held[tenant] = window = self._read(tenant, known)
            while len(self._held) > MOST_TENANTS:
                self._held.popitem(last=False)
            return window

    def _read(self, tenant: str, known: Window | None) -> Window:
        keep = max(0, len(known.ids) - OVERLAP) if known else 0
        after = bytes(known.ids[keep - 1]).decode() if known and keep else ""
        with self.database.read() as session:
            rows = list(reversed(self.source(session, tenant, after, self.most)))
        fresh = _window(rows, whole=not after and len(rows) < self.most)
        if known is None or not after or len(rows) == self.most:
            return fresh
        return _joined(known, keep, fresh, self.most)


def _window(rows: Rows, *, whole: bool) -> Window:
    """A window of rows (id, packed hashes of 32 bytes each), sorted by id."""
    frames = np.array([len(packed) // 32 for _, packed in rows], np.int32)
    hashes = np.frombuffer(b"".join(packed[: len(packed) // 32 * 32] for _, packed in rows), np.uint64).reshape(-1, 4)
    return Window(
        np.array([name.encode() for name, _ in rows], dtype="S40"),
        hashes,
        np.repeat(np.arange(len(rows), dtype=np.int32), frames),
        whole,
    )


def _joined(known: Window, keep: int, fresh: Window, most: int) -> Window:
    """The first rows of one window and all of the other, at most so many, the newest."""
    first = max(0, keep + len(fresh.ids) - most)
    kept = (known.of >= first) & (known.of < keep)
    return Window(
        np.concatenate([known.ids[first:keep], fresh.ids]),
        np.concatenate([known.hashes[kept], fresh.hashes]),
        np.concatenate([known.of[kept] - first, fresh.of + (keep - first)]).astype(np.int32),
        known.whole and not first,
    )
