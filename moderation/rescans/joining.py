"""Joins a page of stored hashes with new entries: which of the stored ones may lie near any of the new.

Two 256-bit hashes at most 31 bits apart agree in one of their 16 chunks of 16 bits up to one bit (`moderation/banks/index.py`). So a
page is sorted by each chunk in turn, and an entry is compared with what stands in 17 places of it: one pair in 240. Sorting costs as
much as some hundred entries compared one by one, so that fewer of them are.
"""

import faiss
import numpy as np
from numpy.typing import NDArray

from moderation.banks.index import CHUNKS, KEEP, NEIGHBOURS, Hashes, chunks

FEW = 200
"""Entries that are compared one by one."""

BLOCK = 512
"""Entries that are looked up together: what bounds the memory of one join."""

ALIKE = 16
"""Where more than one pair in so many shares a bucket, the hashes are so alike that buckets save nothing."""

Numbers = NDArray[np.int64]


def within(hashes: Hashes, entries: Hashes, radius: int) -> Numbers:
    """Numbers of the hashes (n, bytes) that may lie within the radius of some entry (m, bytes): all that do, and few others.

    A hash within r bits of another is within r bits of it in its first 16 bytes: those are compared.
    """
    if len(entries) <= FEW or hashes.shape[1] != 2 * CHUNKS or radius >= 2 * CHUNKS:
        return _one_by_one(hashes, entries, radius)
    near = np.zeros(len(hashes), np.bool_)
    by_chunk, heads = chunks(hashes), _heads(hashes)
    for table in range(CHUNKS):
        buckets = _Buckets(np.ascontiguousarray(by_chunk[:, table]))
        for at in range(0, len(entries), BLOCK):
            block = entries[at : at + BLOCK]
            begin, counts = buckets.around(chunks(block)[:, table])
            if counts.sum() > len(hashes) * len(block) // ALIKE:
                near[_one_by_one(hashes, block, radius)] = True
                continue
            rows = buckets.rows(begin, counts)
            asked = np.repeat(np.repeat(_heads(block), len(NEIGHBOURS)), counts)
            apart = np.bitwise_count(heads.take(rows).view(np.uint64) ^ asked.view(np.uint64))
            near[rows[apart[::2] + apart[1::2] <= radius]] = True
    return np.flatnonzero(near)


class _Buckets:
    """Numbers of hashes in the order of one chunk, uint16 (n): those of a value stand together."""

    def __init__(self, chunk: NDArray[np.uint16]) -> None:
        self.order = np.argsort(chunk, kind="stable")
        self.starts = np.zeros((1 << 16) + 1, np.int64)
        np.cumsum(np.bincount(chunk, minlength=1 << 16), out=self.starts[1:])

    def around(self, values: NDArray[np.uint16]) -> tuple[Numbers, Numbers]:
        """Of each value and each of its neighbours: where the bucket begins, and how many are in it."""
        buckets = (values[:, None] ^ NEIGHBOURS).ravel().astype(np.int64)
        begin = self.starts.take(buckets)
        return begin, self.starts.take(buckets + 1) - begin

    def rows(self, begin: Numbers, counts: Numbers) -> Numbers:
        """What is in these buckets, one behind the other."""
        ends = np.cumsum(counts)
        return self.order.take(np.repeat(begin - ends + counts, counts) + np.arange(ends[-1]))


def _heads(hashes: Hashes) -> NDArray[np.complex128]:
    """The first 16 bytes of each as one number, so that they are fetched at once; its bits are only ever compared."""
    return np.ascontiguousarray(hashes[:, :KEEP]).view(np.complex128).ravel()


def _one_by_one(hashes: Hashes, entries: Hashes, radius: int) -> Numbers:
    width = min(KEEP, hashes.shape[1])
    index = faiss.IndexBinaryFlat(width * 8)
    index.add(np.ascontiguousarray(entries[:, :width]))
    limits, _, _ = index.range_search(np.ascontiguousarray(hashes[:, :width]), radius + 1)
    return np.flatnonzero(np.diff(limits.astype(np.int64)))
