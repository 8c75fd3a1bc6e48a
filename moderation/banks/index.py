"""An exact index of binary hashes in memory: everything within a radius, nothing missed.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", 2014): cut
a 256-bit hash into 16 chunks of 16 bits; two hashes at most 31 bits apart agree in some chunk up to one bit. So 16 tables of
17 buckets each hold every match. `deploy/decisions/0006-bank-index.md` has what else was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import faiss
import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint8]
Ids = NDArray[np.int64]

SEGMENT = 1 << 20
"""Entries of one segment: 20 bits number them."""

TAIL = 1 << 15
"""Additions that are searched one by one before they are sorted into a segment."""

CHUNKS = 16
KEEP = 16
"""Bytes of each hash that stay in memory, to sort candidates out with; the database holds all 32."""

GROUP = 8
"""Queries that are looked up together: what bounds the memory of one search."""

OFFSETS = np.arange(CHUNKS) * ((1 << 16) + 1)
"""Where each table begins in `ChunkSegment.starts`."""

NEIGHBOURS = np.array([0, *(1 << bit for bit in range(16))], dtype=np.uint16)


@dataclass(frozen=True, eq=False)
class Hits:
    """Entries that may lie within the radius of a query; the caller compares the whole hashes (`distances`).

    queries: number of the query of each hit; ids: of the entry.
    """

    queries: NDArray[np.int64]
    ids: Ids

    @classmethod
    def joined(cls, parts: Sequence["Hits"]) -> "Hits":
        """All of them, each pair once."""
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        pairs = np.unique(
            np.stack([np.concatenate([p.queries for p in parts]), np.concatenate([p.ids for p in parts])]), axis=1
        )
        return cls(pairs[0], pairs[1])


class FlatSegment:
    """Hashes of any length, compared one by one."""

    def __init__(self, hashes: Hashes, ids: Ids) -> None:
        self.ids = ids
        self.index = faiss.IndexBinaryFlat(hashes.shape[1] * 8)
        self.index.add(np.ascontiguousarray(hashes))

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: Hashes, radius: int) -> Hits:
        limits, _, rows = self.index.range_search(np.ascontiguousarray(queries), radius + 1)
        return Hits(np.repeat(np.arange(len(queries)), np.diff(limits).astype(np.int64)), self.ids[rows])


class ChunkSegment:
    """Up to `SEGMENT` 256-bit hashes in 16 tables of buckets: 62 bytes an entry.

    Rows are sorted by their first chunk, so that the first table needs no list. Every other table lists the rows in the
    order of its chunk, 20 bits a row: 16 in `low`, 4 in `high`, two rows a byte. The tables lie one behind the other, and
    `starts` says where each bucket begins.
    """

    def __init__(self, hashes: Hashes, ids: Ids) -> None:
        if len(hashes) > SEGMENT:
            raise ValueError(f"{len(hashes)} hashes in one segment, at most {SEGMENT}")
        order = np.argsort(chunks(hashes)[:, 0], kind="stable")
        hashes, ids = hashes[order], ids[order]
        self.ids = ids.astype(np.uint32) if ids.size and ids.max() < 1 << 32 else ids
        self.width = len(ids) + len(ids) % 2
        starts = np.empty((CHUNKS, (1 << 16) + 1), np.uint32)
        low = np.zeros((CHUNKS - 1, self.width), np.uint16)
        high = np.zeros((CHUNKS - 1, self.width // 2), np.uint8)
        by_chunk = chunks(hashes)
        for table in range(CHUNKS):
            values = np.ascontiguousarray(by_chunk[:, table])
            starts[table, 0] = table * self.width
            starts[table, 1:] = table * self.width + np.cumsum(np.bincount(values, minlength=1 << 16))
            if table:
                low[table - 1], high[table - 1] = packed(np.argsort(values, kind="stable"), self.width)
        self.starts, self.low, self.high = starts.ravel(), low.ravel(), high.ravel()
        self.flat = faiss.IndexBinaryFlat(KEEP * 8)
        self.flat.add(np.ascontiguousarray(hashes[:, :KEEP]))
        # One 16-byte number a row, so that a row is fetched at once; the bits are only ever compared.
        self.heads = faiss.rev_swig_ptr(self.flat.xb.data(), len(ids) * KEEP).view(np.complex128)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, queries: Hashes, radius: int) -> Hits:
        return Hits.joined([self._group(queries[at : at + GROUP], radius, at) for at in range(0, len(queries), GROUP)])

    def _group(self, queries: Hashes, radius: int, first: int) -> Hits:
        neighbours = NEIGHBOURS if radius >= CHUNKS else NEIGHBOURS[:1]
        buckets = (chunks(queries)[:, :, None] ^ neighbours) + OFFSETS[:, None]
        begin = self.starts.take(buckets).astype(np.int64).ravel()
        counts = self.starts.take(buckets + 1).ravel() - begin
        each = counts.reshape(len(queries), -1).sum(axis=1)
        if each.sum() > len(self) * len(queries) // 16:
            return self._one_by_one(queries, radius, first)
        rows = self._rows(begin, counts)
        heads = np.repeat(np.ascontiguousarray(queries[:, :KEEP]).view(np.complex128).ravel(), each)
        apart = np.bitwise_count(self.heads.take(rows).view(np.uint64) ^ heads.view(np.uint64))
        near = np.flatnonzero(apart[::2] + apart[1::2] <= radius)
        asked = np.searchsorted(np.cumsum(each), near, side="right")
        return Hits(asked + first, self.ids.take(rows.take(near)).astype(np.int64))

    def _rows(self, begin: Ids, counts: Ids) -> Ids:
        """The rows in all these buckets, one bucket behind the other."""
        ends = np.cumsum(counts)
        places = np.repeat(begin - ends + counts, counts) + np.arange(ends[-1])
        listed = places - self.width
        high = self.high.take(listed >> 1, mode="clip") >> ((listed & 1) << 2).astype(np.uint8)
        rows = self.low.take(listed, mode="clip") | (high & 15).astype(np.int64) << 16
        return np.where(listed < 0, places, rows)

    def _one_by_one(self, queries: Hashes, radius: int, first: int) -> Hits:
        """Where the hashes are so alike that buckets save nothing."""
        limits, _, rows = self.flat.range_search(np.ascontiguousarray(queries[:, :KEEP]), radius + 1)
        asked = np.repeat(np.arange(len(queries)), np.diff(limits).astype(np.int64)) + first
        return Hits(asked, self.ids.take(rows).astype(np.int64))


@dataclass(frozen=True, eq=False)
class HashIndex:
    """A snapshot: segments and a tail, never changed, replaced whole.

    size: bytes of a hash. Hashes of 32 bytes are searched by chunks, for radii up to 31; shorter ones one by one.
    """

    size: int
    segments: tuple[ChunkSegment | FlatSegment, ...] = ()
    tail: FlatSegment | None = field(default=None)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def parts(self) -> tuple[ChunkSegment | FlatSegment, ...]:
        return (*self.segments, self.tail) if self.tail else self.segments

    def search(self, queries: Hashes, radius: int) -> Hits:
        """Entries that may lie within `radius` bits of each query (uint8 (n, size)): all that do, and few others."""
        return Hits.joined([part.search(queries, radius) for part in self.parts])


def packed(rows: Ids, width: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Numbers of 20 bits as their lower 16, and their upper 4 two a byte; padded to an even number of them, `width`."""
    lower, upper = np.zeros(width, np.uint16), np.zeros(width, np.uint8)
    lower[: len(rows)], upper[: len(rows)] = rows & 0xFFFF, rows >> 16
    pairs: NDArray[np.uint8] = upper[::2] | upper[1::2] << np.uint8(4)
    return lower, pairs


def chunks(hashes: Hashes) -> NDArray[np.uint16]:
    """uint16 (n, 16) of hashes uint8 (n, 32)."""
    return np.ascontiguousarray(hashes).view(np.uint16)


def distances(hashes: Hashes, others: Hashes) -> NDArray[np.int64]:
    """Bits that differ, row by row."""
    apart: NDArray[np.int64] = np.bitwise_count(hashes ^ others).sum(axis=1, dtype=np.int64)
    return apart
