"""How alike hosted images are to wanted ones, by their embeddings."""

import numpy as np
import pytest

from moderation.takedowns.sweep import Wanted, likenesses, unit


def packed(seed: int, frames: int = 1) -> bytes:
    return np.random.default_rng(seed).normal(size=(frames, 512)).astype(np.float16).tobytes()


def wanted(*embeddings: bytes) -> Wanted:
    vectors = np.concatenate([unit(each) for each in embeddings]) if embeddings else np.zeros((0, 512), np.float32)
    return Wanted(frozenset(), np.zeros((0, 32), np.uint8), vectors, "m")


def test_each_image_counts_with_its_frame_that_is_most_alike() -> None:
    one, other = packed(1), packed(2)
    hosted = [
        ("a", "", None, packed(3, frames=2) + one, "m"),
        ("b", "", None, None, None),
        ("c", "", None, packed(4), "m"),
        ("d", "", None, one, "of another backbone"),
        ("e", "", None, other, "m"),
    ]

    alike = likenesses(wanted(one, other), hosted)

    assert alike[[0, 4]] == pytest.approx(1.0, abs=1e-3)
    assert alike[2] == pytest.approx(max((unit(packed(4)) @ unit(each).T).item() for each in (one, other)), abs=1e-3)
    assert np.isnan(alike[[1, 3]]).all()


@pytest.mark.parametrize("hosted", [[], [("a", "", None, None, None)]])
def test_where_nothing_can_be_compared_nothing_is_alike(hosted: list[tuple[str, str, None, None, None]]) -> None:
    assert np.isnan(likenesses(wanted(packed(1)), hosted)).all()
    assert np.isnan(likenesses(wanted(), [("a", "", None, packed(1), "m")])).all()
