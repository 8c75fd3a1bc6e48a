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

BYTES = 32
"""Of a PDQ hash."""

Rows = Sequence[tuple[str, bytes]]
Source = Callable[[Session, str, str, int], Rows]
Hashes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Window:
    """ids: of the rows, sorted. hashes: uint64 (4, n), a hash a column, row by row. starts: where the hashes of each row begin. whole:
    whether these are all."""

    ids: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    whole: bool

    def nearest(self, wanted: Hashes, most: int) -> tuple[list[str], list[int]]:
        """The nearest rows, by distance in bits from the nearest of the wanted hashes (n, 32)."""
        if not len(wanted) or not len(self.ids):
            return [], []
        apart = np.full(self.hashes.shape[1], 256, np.uint16)
        for one in np.ascontiguousarray(wanted).view(np.uint64):
            np.minimum(apart, self._apart(one), out=apart)
        rows = np.minimum.reduceat(apart, self.starts)
        first = np.argpartition(rows, most)[:most] if most < len(rows) else np.arange(len(rows))
        order = first[np.lexsort((first, rows[first]))]
        return [bytes(name).decode() for name in self.ids[order]], rows[order].tolist()

    def _apart(self, one: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """Bits between one hash and each of ours: three quarters fit into a byte, all four do not."""
        bits = np.bitwise_count(self.hashes[0] ^ one[0])
        for quarter in (1, 2):
            bits += np.bitwise_count(self.hashes[quarter] ^ one[quarter])
        apart: NDArray[np.uint16] = bits.astype(np.uint16) + np.bitwise_count(self.hashes[3] ^ one[3])
        return apart


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
    """A window of rows (id, packed hashes of 32 bytes each), sorted by id; rows without a hash are left out."""
    rows = [(name, packed) for name, packed in rows if len(packed) >= BYTES]
    frames = np.array([len(packed) // BYTES for _, packed in rows], np.int64)
    joined = b"".join(packed[: len(packed) // BYTES * BYTES] for _, packed in rows)
    hashes = np.frombuffer(joined, np.uint64).reshape(-1, BYTES // 8).T
    ids = np.array([name.encode() for name, _ in rows], dtype="S40")
    return Window(ids, np.ascontiguousarray(hashes), np.cumsum(frames) - frames, whole)


def _joined(known: Window, keep: int, fresh: Window, most: int) -> Window:
    """The first rows of one window and all of the other, at most so many, the newest."""
    if np.array_equal(known.ids[keep:], fresh.ids):
        return known
    first = max(0, keep + len(fresh.ids) - most)
    begin = int(known.starts[first])
    end = int(known.starts[keep]) if keep < len(known.starts) else known.hashes.shape[1]
    return Window(
        np.concatenate([known.ids[first:keep], fresh.ids]),
        np.concatenate([known.hashes[:, begin:end], fresh.hashes], axis=1),
        np.concatenate([known.starts[first:keep] - begin, fresh.starts + (end - begin)]),
        known.whole and not first,
    )
