"""Files that try to break whoever opens them."""

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.image import Image
from moderation import media
from moderation.errors import MediaError
from moderation.media import containers
from moderation.settings import Settings
from tests import hostile

LIMITS = media.MediaLimits.of(Settings(_env_file=None))
CORPUS = dict(hostile.corpus())
CODES = {
    415: {"not_an_image", "unsupported_format", "wrong_type", "polyglot"},
    413: {"too_many_bytes", "too_many_pixels", "too_many_frames", "too_many_scans"},
    422: {"empty", "no_pixels", "truncated", "corrupt", "metadata_too_large", "took_too_long"},
}
SECONDS = LIMITS.max_seconds + 2
MEGABYTES = 250


def attempt(data: bytes, limits: media.MediaLimits = LIMITS) -> Image | MediaError:
    """The image, or a refusal of the documented shape; anything else fails the test."""
    try:
        image = media.open(data, limits)
    except MediaError as error:
        return checked(error)
    assert image.frames
    assert all(frame.pixels.size for frame in image.frames)
    return image


def checked(error: MediaError) -> MediaError:
    assert error.error_code in CODES[error.http_status]
    assert error.message.endswith(".")
    assert error.hint
    return error


def code(name: str) -> str:
    result = attempt(CORPUS[name])
    return result.error_code if isinstance(result, MediaError) else ""


def peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.fixture
def memory() -> Iterator[None]:
    """Fails a test whose peak memory grew by more than MEGABYTES, where the system tells."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        yield
        return
    reset.write_text("5")
    before = peak_megabytes()
    yield
    assert peak_megabytes() - before < MEGABYTES


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("name", CORPUS)
def test_everything_hostile_is_answered_in_time_and_memory(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()

    attempt(CORPUS[name])

    assert time.monotonic() - started < SECONDS
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [name for name in CORPUS if " and " in name])
def test_polyglots_are_refused(name: str) -> None:
    assert code(name) == "polyglot"


@pytest.mark.parametrize("name", [name for name in CORPUS if name.startswith("truncated") and "99%" not in name])
def test_truncated_files_are_refused(name: str) -> None:
    assert code(name) in ("truncated", "corrupt", "not_an_image")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("empty file", "empty"),
        ("text", "not_an_image"),
        ("HTML", "not_an_image"),
        ("PDF", "not_an_image"),
        ("MP4", "not_an_image"),
        ("SVG", "unsupported_format"),
        ("SVG behind a byte order mark", "unsupported_format"),
        ("Photoshop", "unsupported_format"),
        ("PNG that says 50,000 × 50,000", "too_many_pixels"),
        ("PNG with more rows than it says", ""),
        ("PNG with a text that expands to 30 MB", "metadata_too_large"),
        ("PNG with 200 texts that expand to 0.9 MB", "metadata_too_large"),
        ("PNG with a profile that expands to 30 MB", "metadata_too_large"),
        ("GIF whose second frame outgrows the first", "too_many_pixels"),
        ("GIF of 10,000 frames", "too_many_frames"),
        ("WebP that says 16,383 × 16,383", "too_many_pixels"),
        ("APNG that says 2^31 frames", "too_many_frames"),
        ("progressive JPEG of 900 scans", ""),
        ("progressive JPEG of 50,000 scans", "too_many_scans"),
        ("PNG of 0 × 9", "no_pixels"),
        ("GIF of 0 × 0", "no_pixels"),
        ("PNG of 30,000 × 1", ""),
        ("JPEG of 1 × 30,000", ""),
        ("JPEG with an invalid profile", ""),
        ("JPEG with invalid EXIF", ""),
        ("PNG with a wrong checksum in its header", "corrupt"),
        ("PNG with two headers", "corrupt"),
        ("TIFF whose directory follows itself", ""),
        ("APNG of 6 frames", ""),
        ("APNG with a frame missing", "truncated"),
    ],
)
def test_what_each_file_gets(name: str, expected: str) -> None:
    assert code(name) == expected


def test_a_hundred_megapixels_are_opened_reduced() -> None:
    image = attempt(CORPUS["JPEG of 100 megapixels"])

    assert isinstance(image, Image)
    assert (image.width, image.height) == (10_000, 10_000)
    assert image.frames[0].pixels.shape == (2_500, 2_500, 3)


def test_svg_and_text_are_named() -> None:
    for name, said in (("SVG", "SVG"), ("text", "is text"), ("HTML", "HTML page"), ("ZIP", "ZIP archive")):
        error = attempt(CORPUS[name])
        assert isinstance(error, MediaError)
        assert said in error.message


def test_what_was_passed_over_is_told() -> None:
    for name in ("JPEG with an invalid profile", "JPEG with invalid EXIF"):
        image = attempt(CORPUS[name])
        assert isinstance(image, Image)
        assert "ignored" in image.warnings[0]


def test_a_bomb_of_scans_is_stopped_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_SCANS", 10**9)
    bomb = hostile.scans(20_000, 4096, 4096)
    started = time.monotonic()

    error = attempt(bomb, replace(LIMITS, max_seconds=0.5))

    assert isinstance(error, MediaError)
    assert error.error_code == "took_too_long"
    assert time.monotonic() - started < 3


def test_an_animation_is_stopped_in_the_middle() -> None:
    for data in (hostile.gif(1_900, (5_000, 5_000)), hostile.webp(1_000, (4_000, 4_000))):
        started = time.monotonic()

        error = attempt(data, replace(LIMITS, max_seconds=0.2))

        assert isinstance(error, MediaError)
        assert error.error_code == "took_too_long"
        assert time.monotonic() - started < 3


def test_overlays_are_refused() -> None:
    data = hostile.sample("HEIF").replace(b"hvc1", b"iovl", 1)

    error = attempt(data)

    assert isinstance(error, MediaError)
    assert error.error_code == "unsupported_format"


def originals() -> dict[str, bytes]:
    files = {format: hostile.sample(format) for format in hostile.FORMATS}
    files |= {f"animated {format}": hostile.animation(format, 3) for format in ("GIF", "PNG", "WEBP", "AVIF", "TIFF")}
    files["progressive JPEG"] = hostile.scans(20, 64, 64)
    files["GIF of small frames"] = hostile.gif(12)
    return files


ORIGINALS = originals()


@pytest.mark.parametrize("name", ORIGINALS)
def test_seeded_mutations_raise_nothing_else(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(60):
        attempt(hostile.mutate(ORIGINALS[name], seed))

    assert capfd.readouterr() == ("", "")


@given(data=st.data())
@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_cut_flipped_and_spliced_files_raise_nothing_else(data: st.DataObject) -> None:
    first, second = (ORIGINALS[data.draw(st.sampled_from(sorted(ORIGINALS)))] for _ in range(2))
    start = data.draw(st.integers(0, len(first)))
    stop = data.draw(st.integers(0, len(second)))
    spliced = bytearray(first[:start] + data.draw(st.binary(max_size=12)) + second[stop:])
    for position in data.draw(st.lists(st.integers(0, max(0, len(spliced) - 1)), max_size=6)):
        if spliced:
            spliced[position] = data.draw(st.integers(0, 255))

    attempt(bytes(spliced))


def test_random_bytes_behind_each_magic_raise_nothing_else() -> None:
    for seed in range(20):
        noise = io.BytesIO(hostile.mutate(bytes(range(256)) * 4, seed)).read()
        for format in hostile.FORMATS:
            for kept in (4, 12, 30):
                attempt(hostile.sample(format)[:kept] + noise)
