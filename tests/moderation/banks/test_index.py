"""The index against brute force: nothing within the radius is missed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moderation.banks import index as module
from moderation.banks.index import ChunkSegment, FlatSegment, HashIndex, Hits, distances

Rows = NDArray[np.uint8]


def random_hashes(count: int, seed: int = 0, size: int = 32) -> Rows:
    return np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)


def near(hashes: Rows, bits: int, seed: int = 0) -> Rows:
    """The hashes with so many bits of each flipped."""
    random = np.random.default_rng(seed)
    flipped = np.unpackbits(hashes, axis=1)
    for row in flipped:
        row[random.choice(flipped.shape[1], bits, replace=False)] ^= 1
    return np.packbits(flipped, axis=1)


def within(hits: Hits, queries: Rows, hashes: Rows, radius: int) -> set[tuple[int, int]]:
    """The hits that lie within the radius, whole hashes compared: what the matcher does with the database's."""
    apart = distances(queries[hits.queries], hashes[hits.ids])
    return {(int(q), int(i)) for q, i, bits in zip(hits.queries, hits.ids, apart, strict=True) if bits <= radius}


def brute_force(queries: Rows, hashes: Rows, radius: int) -> set[tuple[int, int]]:
    apart = np.bitwise_count(queries[:, None] ^ hashes[None]).sum(axis=2, dtype=int)
    return {(int(q), int(i)) for q, i in zip(*np.nonzero(apart <= radius), strict=True)}


@pytest.mark.parametrize("radius", [0, 8, 15, 16, 24, 31])
@pytest.mark.parametrize("bits", [0, 1, 15, 16, 30, 31, 32])
def test_everything_within_the_radius_is_found(radius: int, bits: int) -> None:
    hashes = random_hashes(5_000)
    queries = near(hashes[:40], bits)

    hits = ChunkSegment(hashes, np.arange(5_000)).search(queries, radius)

    assert within(hits, queries, hashes, radius) == brute_force(queries, hashes, radius)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 31), st.integers(0, 2**32), st.booleans())
def test_the_index_agrees_with_brute_force(count: int, radius: int, seed: int, alike: bool) -> None:
    hashes = near(np.repeat(random_hashes(1, seed), count, axis=0), 20, seed) if alike else random_hashes(count, seed)
    queries = near(hashes[: min(count, 9)], min(radius, 31), seed + 1)

    hits = HashIndex(32, (ChunkSegment(hashes, np.arange(count)),)).search(queries, radius)

    assert within(hits, queries, hashes, radius) == brute_force(queries, hashes, radius)


def test_hashes_that_are_all_alike_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.repeat(random_hashes(1), 2_000, axis=0)
    asked = []
    one_by_one = ChunkSegment._one_by_one
    monkeypatch.setattr(ChunkSegment, "_one_by_one", lambda *args: asked.append(1) or one_by_one(*args))

    hits = ChunkSegment(hashes, np.arange(2_000)).search(hashes[:2], 31)

    assert len(hits.ids) == 4_000
    assert asked


def test_errors_in_one_place_and_spread_out_are_both_found() -> None:
    """The pigeonhole's two extremes: 31 bits in two chunks, and two bits in almost every chunk."""
    hashes = random_hashes(1_000)
    lumped, spread = hashes[:1].copy(), hashes[:1].copy()
    lumped[0, 28:32] ^= np.array([255, 255, 255, 127], np.uint8)
    spread[0, np.arange(0, 32, 2)] ^= 3
    spread[0, 0] ^= 1  # 31 bits: one chunk has a single error, the others two

    for query in (lumped, spread):
        assert distances(query, hashes[:1])[0] == 31
        hits = ChunkSegment(hashes, np.arange(1_000)).search(query, 31)
        assert (0, 0) in within(hits, query, hashes, 31)


def test_ids_beyond_32_bits_are_kept() -> None:
    hashes, ids = random_hashes(10), np.arange(10) + (1 << 40)

    assert set(ChunkSegment(hashes, ids).search(hashes, 0).ids) == set(ids)


def test_segments_and_tail_are_searched_together() -> None:
    hashes = random_hashes(300)
    parts = [ChunkSegment(hashes[a : a + 100], np.arange(a, a + 100)) for a in (0, 100)]
    index = HashIndex(32, tuple(parts), FlatSegment(hashes[200:], np.arange(200, 300)))

    hits = index.search(hashes, 31)

    assert len(index) == 300
    assert within(hits, hashes, hashes, 31) == {(i, i) for i in range(300)}


def test_an_empty_index_finds_nothing() -> None:
    empty = ChunkSegment(random_hashes(0), np.zeros(0, np.int64))

    assert len(empty.search(random_hashes(3), 31).ids) == 0
    assert len(HashIndex(32).search(random_hashes(3), 31).ids) == 0


def test_a_segment_has_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT", 9)

    with pytest.raises(ValueError, match="10 hashes in one segment"):
        ChunkSegment(random_hashes(10), np.arange(10))


def test_short_hashes_are_searched_one_by_one() -> None:
    hashes = random_hashes(500, size=8)
    queries = near(hashes[:20], 6)

    hits = FlatSegment(hashes, np.arange(500)).search(queries, 6)

    assert within(hits, queries, hashes, 6) == brute_force(queries, hashes, 6)
