"""Which stored hashes may lie near new entries: checked against every pair."""

import numpy as np
import pytest

from moderation.banks.index import Hashes, distances
from moderation.rescans.joining import BLOCK, FEW, within


def near(hashes: Hashes, entries: Hashes, radius: int) -> list[int]:
    """Every pair compared, by the first 16 bytes."""
    return [i for i, one in enumerate(hashes) if (distances(one[None, :16], entries[:, :16]) <= radius).any()]


def mixed(count: int, entries: Hashes, seed: int) -> Hashes:
    """Random hashes, of which every second is an entry with 20 to 40 of its bits turned, anywhere in it."""
    random = np.random.default_rng(seed)
    made = random.integers(0, 256, (count, entries.shape[1]), np.uint8)
    for i in range(0, count, 2):
        bits = np.unpackbits(entries[random.integers(len(entries))])
        bits[random.choice(len(bits), random.integers(20, 41), replace=False)] ^= 1
        made[i] = np.packbits(bits)
    return made


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, BLOCK + 1])
def test_all_that_lie_within_the_radius_are_found(count: int) -> None:
    entries = np.random.default_rng(count).integers(0, 256, (count, 32), np.uint8)
    hashes = mixed(400, entries, count)

    found = within(hashes, entries, 31)

    exact = [i for i, one in enumerate(hashes) if (distances(one[None], entries) <= 31).any()]
    assert set(exact) <= set(found.tolist()) <= set(near(hashes, entries, 31))
    assert exact


def test_hashes_that_are_all_alike_are_found_one_by_one() -> None:
    entries = mixed(2 * FEW, np.zeros((1, 32), np.uint8), 1)

    assert within(mixed(50, np.zeros((1, 32), np.uint8), 2), entries, 31).tolist() == near(
        mixed(50, np.zeros((1, 32), np.uint8), 2), entries, 31
    )


@pytest.mark.parametrize("radius", [0, 6, 12])
def test_short_hashes_are_compared_whole(radius: int) -> None:
    random = np.random.default_rng(3)
    entries = random.integers(0, 256, (2 * FEW, 8), np.uint8)
    hashes = random.integers(0, 256, (300, 8), np.uint8)
    hashes[::3] = entries[:100] ^ np.packbits(np.arange(64) < 6)

    assert within(hashes, entries, radius).tolist() == near(hashes, entries, radius)


def test_no_hashes_and_no_entries_are_near_nothing() -> None:
    some, none = np.zeros((FEW + 1, 32), np.uint8), np.zeros((0, 32), np.uint8)

    assert within(none, some, 31).tolist() == within(some, none, 31).tolist() == []
