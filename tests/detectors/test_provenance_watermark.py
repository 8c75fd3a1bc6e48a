"""What is read of marks in real pictures: those of early diffusers, and those that were saved as JPEG."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.image import Pixels
from detectors.provenance import watermark
from tests.detectors.test_provenance import marked_by_a_pipeline, muted
from tests.factories import encode

SDXL = watermark.MESSAGES[0]
PHOTOS = 12


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[Pixels]:
    """Real pictures of four sources, 512 px on the short side."""
    paths = sorted((shared_data / "images/real").glob("*/*"))
    scaled = []
    for path in paths[:: len(paths) // PHOTOS][:PHOTOS]:
        with Pillow.open(path) as picture:
            scale = 512 / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            pixels = np.asarray(picture.convert("RGB").resize(size, Pillow.Resampling.LANCZOS))
            scaled.append(np.ascontiguousarray(pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4]))
    return scaled


def found(photos: list[Pixels], *, floats: bool, **jpeg: Any) -> int:
    """In how many of the pictures the mark of a pipeline is found, saved as JPEG if options are given."""
    count = 0
    for photo in photos:
        marked = marked_by_a_pipeline(photo, SDXL.bits, floats=floats)
        if jpeg:
            marked = np.asarray(Pillow.open(io.BytesIO(encode(marked, "JPEG", **jpeg))))
        match = watermark.find(marked)
        count += match is not None and match.message is SDXL
    return count


@pytest.mark.parametrize("floats", [False, True], ids=["8-bit", "floats"])
def test_marks_in_real_pictures_are_read(photos: list[Pixels], floats: bool) -> None:
    assert found(photos, floats=floats) == PHOTOS
    assert found(photos, floats=floats, quality=95, subsampling=0) == PHOTOS
    assert found(photos, floats=floats, quality=85, subsampling=0) >= PHOTOS - 2
    assert found(photos, floats=floats, quality=95, subsampling=2) >= PHOTOS // 2


def test_marks_do_not_survive_the_jpeg_that_hosts_save(photos: list[Pixels]) -> None:
    """The limit that the documentation states: most marks are gone at quality 75 with halved colour."""
    assert found(photos, floats=True, quality=75, subsampling=2) <= PHOTOS // 4


def test_marks_of_early_diffusers_are_read() -> None:
    """They handed the encoder red for blue."""
    swapped = np.ascontiguousarray(muted()[:, :, ::-1])
    marked = np.ascontiguousarray(marked_by_a_pipeline(swapped, SDXL.bits, floats=True)[:, :, ::-1])
    match = watermark.find(marked)

    assert match
    assert match.message is SDXL
    assert match.chance < 1e-6


@pytest.mark.parametrize(("height", "width"), [(8, 9000), (9000, 8), (257, 263), (200, 600), (1030, 2050)])
def test_any_shape_is_read(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    assert watermark.find(pixels) is None


def test_low_pictures_are_read_too(photos: list[Pixels]) -> None:
    """The encoder takes any shape of 256 × 256 pixels and more."""
    marked = marked_by_a_pipeline(np.ascontiguousarray(photos[0][:200]), SDXL.bits, floats=True)

    assert marked.shape[0] * marked.shape[1] >= watermark.LEAST_PIXELS
    assert watermark.find(marked) is not None


@pytest.mark.parametrize("message", watermark.MESSAGES, ids=lambda message: message.scheme)
def test_no_message_is_reported_that_chance_could_show(message: watermark.Message) -> None:
    assert watermark.chance_of(message.least, len(message.bits)) <= watermark.CHANCE
    assert watermark.Match(message, message.least).chance < 1e-6
    assert watermark.chance_of(0, 48) == 1
    assert watermark.chance_of(48, 48) == 2**-48
