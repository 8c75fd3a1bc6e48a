"""The mark of our own generator: what it survives, and that pictures without it do not show it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.provenance import own_mark
from tests.factories import picture


def saved(pixels: np.ndarray, format: str = "JPEG", **options: int) -> np.ndarray:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, format, **options)
    return np.asarray(Pillow.open(buffer).convert("RGB"))


def test_pictures_without_a_mark_stay_far_below_the_limit(shared_data: Path) -> None:
    paths = sorted((shared_data / "images").glob("*/*/*.*"))[::15]
    worst = max(own_mark.deviation(np.asarray(Pillow.open(path).convert("RGB"))) for path in paths)

    assert len(paths) > 80
    assert worst < own_mark.LEAST_DEVIATION - 1.5


def test_it_survives_what_hosts_do_and_is_hardly_seen(shared_data: Path) -> None:
    for path in sorted((shared_data / "images/real").glob("*/*"))[::60]:
        pixels = np.asarray(Pillow.open(path).convert("RGB").resize((256, 256)))
        marked = own_mark.embed(pixels)
        error = np.square(marked.astype(float) - pixels).mean()
        assert 10 * np.log10(255**2 / error) > 38
        assert own_mark.find(saved(marked, quality=50, subsampling=2))
        assert own_mark.find(saved(marked, "WEBP", quality=75))
        assert own_mark.find(np.ascontiguousarray(marked[16:, 40:]))
        assert own_mark.find(np.asarray(Pillow.fromarray(marked).resize((128, 128)))) is None


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_pictures_show_no_mark(value: int) -> None:
    assert own_mark.find(np.full((256, 256, 3), value, np.uint8)) is None


@pytest.mark.parametrize("shape", [(8, 9000), (63, 64), (1, 1)])
def test_pictures_too_small_for_it_are_refused(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    assert own_mark.find(pixels) is None
    with pytest.raises(ValueError, match="64 px"):
        own_mark.embed(pixels)


def test_any_size_is_taken() -> None:
    for width, height in ((64, 64), (65, 71), (1030, 205), (2050, 1300)):
        found = own_mark.find(own_mark.embed(picture(width, height)))
        assert found
        assert found.chance < 1e-9
