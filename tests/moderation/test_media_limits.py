"""The limits on opening an image: what is sampled, scaled, refused or made to wait."""

import io
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from moderation import media
from moderation.errors import MediaError
from moderation.media.colour import fit, to_pixels
from moderation.media.decoding import spread
from moderation.media.gate import Gate
from moderation.media.limits import Deadline
from moderation.media.notices import collect
from moderation.settings import Settings
from tests import hostile
from tests.factories import encode, picture

LIMITS = media.MediaLimits.of(Settings(_env_file=None))


def refusal(data: bytes, limits: media.MediaLimits = LIMITS, **claims: str) -> MediaError:
    with pytest.raises(MediaError) as caught:
        media.open(data, limits, **claims)
    assert caught.value.hint
    return caught.value


class TestFrames:
    @pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
    def test_frames_are_sampled_evenly(self, format: str) -> None:
        options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format in ("AVIF", "HEIF") else {}
        data = hostile.animation(format, 9, (64, 64), **options)

        image = media.open(data, replace(LIMITS, sampled_frames=3))

        assert image.frame_count == 9
        assert [frame.index for frame in image.frames] == [0, 4, 8]
        for frame in image.frames:
            i = frame.index
            assert np.abs(frame.pixels[32, 32].astype(int) - (i * 37 % 256, i * 11 % 256, i * 3 % 256)).max() <= 6

    @pytest.mark.parametrize(
        ("count", "most", "expected"),
        [(1, 8, [0]), (8, 8, list(range(8))), (9, 1, [0]), (10, 2, [0, 9]), (100, 4, [0, 33, 66, 99])],
    )
    def test_spread(self, count: int, most: int, expected: list[int]) -> None:
        assert spread(count, most) == expected

    def test_sampled_frames_share_the_working_pixels(self) -> None:
        data = hostile.animation("GIF", 4, (200, 100))

        image = media.open(data, replace(LIMITS, working_pixels=20_000))

        assert (image.width, image.height) == (200, 100)
        assert all(frame.pixels.shape == (50, 100, 3) for frame in image.frames)

    def test_pages_may_differ_in_size(self) -> None:
        pages = [PIL.Image.new("RGB", size, (9, 9, 9)) for size in ((40, 20), (10, 30))]
        buffer = io.BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])

        image = media.open(buffer.getvalue(), LIMITS)
        assert (image.width, image.height) == (40, 20)
        assert [frame.pixels.shape for frame in image.frames] == [(20, 40, 3), (30, 10, 3)]

        error = refusal(buffer.getvalue(), replace(LIMITS, max_pixels=799))
        assert error.error_code == "too_many_pixels"

    def test_a_later_page_that_is_too_large_is_refused(self) -> None:
        pages = [PIL.Image.new("1", size) for size in ((10, 10), (100, 100))]
        buffer = io.BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])

        assert "100 × 100" in refusal(buffer.getvalue(), replace(LIMITS, max_pixels=5_000)).message


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "code", "setting"),
        [
            ({"max_bytes": 100}, "too_many_bytes", "PALISADE_MAX_BYTES"),
            ({"max_pixels": 100}, "too_many_pixels", "PALISADE_MAX_PIXELS"),
            ({"max_frames": 2}, "too_many_frames", "PALISADE_MAX_FRAMES"),
        ],
    )
    @pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
    def test_each_limit_is_named(self, format: str, limits: dict[str, int], code: str, setting: str) -> None:
        error = refusal(hostile.animation(format, 3), replace(LIMITS, **limits))

        assert (error.http_status, error.error_code) == (413, code)
        assert setting in error.message
        assert setting in error.hint

    @pytest.mark.parametrize("format", hostile.FORMATS)
    def test_the_time_limit_holds_for_every_format(self, format: str) -> None:
        error = refusal(hostile.sample(format), replace(LIMITS, max_seconds=1e-9))

        assert (error.http_status, error.error_code) == (422, "took_too_long")
        assert "PALISADE_MAX_SECONDS" in error.message

    def test_a_large_jpeg_is_decoded_reduced(self) -> None:
        data = encode(picture(400, 300), "JPEG", quality=95)
        small = replace(LIMITS, max_pixels=100_000, working_pixels=10_000)

        image = media.open(data, small)

        assert (image.width, image.height) == (400, 300)
        assert image.frames[0].pixels.shape == (75, 100, 3)
        expected = np.asarray(PIL.Image.fromarray(picture(400, 300)).reduce(4)).astype(int)
        assert np.abs(image.frames[0].pixels - expected).mean() < 6

    def test_a_jpeg_above_its_own_limit_is_refused(self) -> None:
        data = encode(picture(400, 300), "JPEG")

        error = refusal(data, replace(LIMITS, max_pixels=50_000, max_jpeg_pixels=100_000))

        assert "PALISADE_MAX_JPEG_PIXELS" in error.message

    def test_a_large_progressive_jpeg_is_refused(self) -> None:
        data = encode(picture(400, 300), "JPEG", progressive=True)

        assert "progressive" in refusal(data, replace(LIMITS, max_pixels=100_000)).message

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK", "I;16", "F"])
    def test_scaling_in_strips_equals_scaling_at_once(self, mode: str) -> None:
        grey = np.asarray(PIL.Image.fromarray(picture(2000, 1600)).convert("L"))
        deep = {"I;16": grey.astype(np.uint16) * 257, "F": grey / np.float32(255)}
        image = PIL.Image.fromarray(deep[mode] if mode in deep else picture(2000, 1600))
        image = image if mode in deep else image.convert(mode)
        plain = np.asarray(PIL.Image.fromarray(grey) if mode in deep else image.convert("RGB"))
        whole = PIL.Image.fromarray(plain).convert("RGB").resize((1000, 800), PIL.Image.Resampling.HAMMING)

        pixels = to_pixels(image, 800_000, [])

        assert np.abs(pixels.astype(int) - np.asarray(whole)).max() <= 1

    @pytest.mark.parametrize(("width", "height"), [(30_000, 1), (1, 30_000), (1, 1), (50_000_000, 1)])
    def test_extreme_shapes_fit(self, width: int, height: int) -> None:
        new = fit((width, height), 10_000)

        assert min(new) >= 1
        assert new[0] * new[1] <= 10_000

    def test_nothing_is_written_to_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(tempfile, "mkstemp", lambda *_, **__: pytest.fail("a temporary file was made"))
        for format in hostile.FORMATS:
            media.open(hostile.sample(format), LIMITS)

        assert list(tmp_path.iterdir()) == []


class TestClaims:
    @pytest.mark.parametrize(("name", "content_type", "data"), list(hostile.mislabelled()))
    def test_a_wrong_name_or_type_is_refused(self, name: str, content_type: str, data: bytes) -> None:
        for claim in ({"name": name}, {"content_type": content_type}):
            error = refusal(data, **claim)
            assert (error.http_status, error.error_code) == (415, "wrong_type")

        lenient = replace(LIMITS, strict_types=False)
        assert media.open(data, lenient, name=name, content_type=content_type)

    def test_both_types_are_named(self) -> None:
        message = refusal(hostile.sample("PNG"), name="photo.jpg").message

        assert "PNG" in message
        assert ".jpg" in message
        assert "JPEG" in message

    @pytest.mark.parametrize(
        ("format", "name", "content_type"),
        [
            ("JPEG", "a.JPEG", "image/jpeg"),
            ("JPEG", "a.jfif", "image/pjpeg; charset=binary"),
            ("JPEG", "a.mpo", "application/octet-stream"),
            ("JPEG", "jpg", "image/*"),
            ("PNG", "a.apng", "image/apng"),
            ("PNG", "archive.d/file", ""),
            ("PNG", "a.upload", "text/plain"),
            ("HEIF", "a.hif", "image/heif"),
            ("HEIF", "a.HEIC", "image/heic"),
            ("TIFF", "a.tif", "image/tiff"),
            ("BMP", "a.dib", "image/x-ms-bmp"),
        ],
    )
    def test_families_and_unknown_names_are_fine(self, format: str, name: str, content_type: str) -> None:
        image = media.open(hostile.sample(format), LIMITS, name=name, content_type=content_type)

        assert image.format == format


class TestTrailers:
    @pytest.mark.parametrize(
        "tail",
        [
            b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 20,
            hostile.sample("JPEG"),
            b"MZ is how this text starts" * 9,
            b"PK is no archive",
        ],
        ids=["motion photo", "second picture", "text", "letters"],
    )
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_what_cameras_append_is_allowed_and_told(self, format: str, tail: bytes) -> None:
        image = media.open(hostile.sample(format) + tail, LIMITS)

        assert image.warnings == (f"{len(tail):,} bytes follow the end of the image and were not scanned",)

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_padding_is_nothing(self, format: str) -> None:
        assert media.open(hostile.sample(format) + bytes(1000), LIMITS).warnings == ()

    def test_an_embedded_thumbnail_is_not_the_end(self) -> None:
        data = hostile.with_segment(hostile.sample("JPEG"), 0xE1, b"Exif\0\0" + hostile.sample("JPEG") + hostile.PHP)

        assert media.open(data, LIMITS).format == "JPEG"


class TestGate:
    def test_what_does_not_fit_waits_and_small_ones_pass(self) -> None:
        gate = Gate(capacity=100, small=10)
        entered = threading.Event()

        def enter() -> None:
            with gate.hold(60):
                entered.set()

        with gate.hold(60):
            waiting = threading.Thread(target=enter)
            waiting.start()
            assert not entered.wait(0.05)
            with gate.hold(9) as waited:
                assert waited == 0.0
        assert entered.wait(5)
        waiting.join()

    def test_what_is_larger_than_everything_goes_alone(self) -> None:
        gate = Gate(capacity=100, small=10)

        with gate.hold(10**9):
            pass
        with gate.hold(100) as waited:
            assert waited < 1

    def test_a_failure_gives_its_place_back(self) -> None:
        gate = Gate(capacity=100, small=10)

        with pytest.raises(ValueError, match="inside"), gate.hold(100):
            raise ValueError("inside")
        with gate.hold(100) as waited:
            assert waited < 1

    def test_waiting_is_not_counted_as_time_spent(self) -> None:
        deadline = Deadline(0.01)
        deadline.extend(60)
        threading.Event().wait(0.02)

        deadline.check()


class TestNotices:
    def test_each_thread_gets_its_own_warnings_and_filters_are_restored(self) -> None:
        before = list(warnings.filters)
        data = hostile.with_segment(hostile.sample("JPEG"), 0xE1, b"Exif\0\0II*\0\x08\0\0\0\5\0" + b"\x12\1\3\0" * 3)
        found: list[tuple[str, ...]] = []
        threads = [threading.Thread(target=lambda: found.append(media.open(data, LIMITS).warnings)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(found) == 4
        assert all("EXIF" in " ".join(warnings) for warnings in found)
        assert list(warnings.filters) == before

    def test_warnings_of_others_are_left_alone(self) -> None:
        with collect() as notes, pytest.raises(UserWarning, match="of another"):
            warnings.warn("of another", stacklevel=1)

        assert notes == []
