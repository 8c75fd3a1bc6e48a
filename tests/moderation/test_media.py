"""Opening sound images of every format: what they look like, and what is said of them."""

import io
import tempfile
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from moderation import media
from moderation.errors import MediaError
from moderation.media.colour import fit, to_pixels
from moderation.media.decoding import spread
from moderation.media.gate import Gate
from moderation.media.notices import collect
from moderation.settings import Settings
from tests import hostile
from tests.factories import encode, picture

LIMITS = media.MediaLimits.of(Settings(_env_file=None))
LOSSY = {"JPEG": 10.0, "WEBP": 8.0, "AVIF": 6.0, "HEIF": 6.0, "GIF": 8.0}  # mean levels that a format may be off by


def opened(image: PIL.Image.Image, format: str = "PNG", **options: Any) -> np.ndarray:
    """The pixels of the first frame, after saving and opening."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return media.open(buffer.getvalue(), LIMITS).frames[0].pixels


def refusal(data: bytes, limits: media.MediaLimits = LIMITS, **claims: str) -> MediaError:
    with pytest.raises(MediaError) as caught:
        media.open(data, limits, **claims)
    assert caught.value.hint
    return caught.value


class TestFormats:
    @pytest.mark.parametrize("format", hostile.FORMATS)
    def test_every_format_opens(self, format: str) -> None:
        data = hostile.sample(format, 96, 64)

        image = media.open(data, LIMITS)

        assert (image.format, image.width, image.height, image.frame_count) == (format, 96, 64, 1)
        assert image.data is data
        assert image.warnings == ()
        difference = np.abs(image.frames[0].pixels.astype(int) - picture(96, 64)).mean()
        assert difference <= LOSSY.get(format, 0.0)

    def test_lossless_webp_is_exact(self) -> None:
        assert np.array_equal(opened(PIL.Image.fromarray(picture()), "WEBP", lossless=True), picture())

    @pytest.mark.parametrize("format", hostile.FORMATS)
    def test_pixels_are_contiguous_rgb_and_read_only(self, format: str) -> None:
        pixels = media.open(hostile.sample(format), LIMITS).frames[0].pixels

        assert pixels.dtype == np.uint8
        assert pixels.shape == (32, 48, 3)
        assert pixels.flags.c_contiguous
        assert not pixels.flags.writeable

    def test_a_multi_picture_file_is_a_jpeg_of_its_first_picture(self) -> None:
        data = hostile.animation("MPO", 3, (48, 32))

        image = media.open(data, LIMITS, name="photo.jpg")

        assert (image.format, image.frame_count, len(image.frames)) == ("JPEG", 1, 1)

    def test_progressive_and_interlaced_files_open(self) -> None:
        assert opened(PIL.Image.fromarray(picture()), "JPEG", progressive=True).shape == (240, 320, 3)
        values = media.open(hostile.interlaced(), LIMITS).frames[0].pixels
        assert np.array_equal(values[:, :, 0], np.arange(64).reshape(8, 8))

    def test_everything_shared_opens(self, shared_data: Path) -> None:
        failures = []
        for folder in ("images", "provenance", "pdq"):
            for path in sorted((shared_data / folder).rglob("*")):
                if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff"):
                    try:
                        media.open(path.read_bytes(), LIMITS, name=path.name)
                    except MediaError as error:
                        failures.append((path.name, error.error_code))
        assert failures == [("tiff_poc.tiff", "corrupt")]  # a TIFF without dimensions


class TestColour:
    @pytest.mark.parametrize(
        ("mode", "value", "expected"),
        [
            ("1", 1, (255, 255, 255)),
            ("L", 77, (77, 77, 77)),
            ("LA", (77, 255), (77, 77, 77)),
            ("RGB", (10, 20, 30), (10, 20, 30)),
            ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
            ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
            ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ],
    )
    def test_modes_of_8_bits_are_exact(self, mode: str, value: Any, expected: tuple[int, ...]) -> None:
        pixels = opened(PIL.Image.new(mode, (9, 5), value), "TIFF")

        assert (pixels == expected).all()

    def test_cmyk_jpeg_is_not_inverted(self) -> None:
        pixels = opened(PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)

        assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3

    @pytest.mark.parametrize("colours", [2, 16, 200])
    def test_palettes_are_exact(self, colours: int) -> None:
        image = PIL.Image.fromarray(picture()).quantize(colours)

        assert np.array_equal(opened(image), np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize(("format", "type"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
    def test_16_bit_grey_uses_its_full_range(self, format: str, type: str) -> None:
        values = np.array([[0, 256, 257, 12_850, 32_768, 65_535]], type)

        pixels = opened(PIL.Image.fromarray(values), format)

        assert pixels[0, :, 0].tolist() == [0, 1, 1, 50, 128, 255]

    def test_16_bit_colour_keeps_its_high_bytes(self) -> None:
        row = b"\0" + np.array([[65_535, 32_768, 257]], ">u2").tobytes()

        pixels = media.open(hostile.png(1, 1, rows=row, depth=16), LIMITS).frames[0].pixels

        assert pixels[0, 0].tolist() == [255, 128, 1]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 51.0, 255.0], [0, 51, 255]),
            ([-1.0, 0.0, 1.0], [0, 128, 255]),
            ([0.0, float("nan"), float("inf"), 1.0], [0, 0, 255, 255]),
        ],
    )
    def test_floats_are_scaled_and_the_scale_is_told(self, values: list[float], expected: list[int]) -> None:
        buffer = io.BytesIO()
        PIL.Image.fromarray(np.array([values], np.float32)).save(buffer, "TIFF")

        image = media.open(buffer.getvalue(), LIMITS)

        assert image.frames[0].pixels[0, :, 0].tolist() == expected
        assert any("scaled from" in warning for warning in image.warnings)

    def test_32_bit_integers_are_scaled_from_their_values(self) -> None:
        pixels = opened(PIL.Image.fromarray(np.array([[0, 50, 255]], np.int32)), "TIFF")

        assert pixels[0, :, 0].tolist() == [0, 50, 255]

    def test_transparency_shows_neutral_grey(self) -> None:
        half = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 128))
        clear = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
        opaque = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 255))

        assert (opened(clear) == 127).all()
        assert (opened(opaque) == (255, 0, 0)).all()
        assert np.abs(opened(half)[0, 0].astype(int) - (191, 63, 63)).max() <= 1

    def test_a_transparent_palette_entry_shows_neutral_grey(self) -> None:
        image = PIL.Image.new("P", (4, 4), 1)
        image.putpalette([255, 0, 0, 0, 255, 0])

        assert (opened(image, transparency=1) == 127).all()
        assert (opened(image, transparency=0) == (0, 255, 0)).all()
        assert (opened(image, "GIF", transparency=1) == 127).all()

    @pytest.mark.parametrize(("mode", "colour"), [("RGB", (1, 2, 3)), ("L", 9)])
    def test_a_transparent_colour_shows_neutral_grey(self, mode: str, colour: Any) -> None:
        assert (opened(PIL.Image.new(mode, (4, 4), colour), transparency=colour) == 127).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
    def test_every_orientation_is_turned_upright(self, format: str, orientation: int) -> None:
        upright = PIL.Image.new("RGB", (64, 32), (0, 0, 0))
        upright.paste((255, 0, 0), (0, 0, 16, 16))  # red is top left, blue is top right
        upright.paste((0, 0, 255), (48, 0, 64, 16))
        stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        stored.save(buffer, format, exif=exif.tobytes())

        image = media.open(buffer.getvalue(), LIMITS)

        pixels = image.frames[0].pixels
        assert (image.width, image.height, pixels.shape) == (64, 32, (32, 64, 3))
        assert pixels[8, 8].argmax() == 0
        assert pixels[8, 8].max() > 180
        assert pixels[8, 56].argmax() == 2
        assert pixels[24, 32].max() < 60


STORED = {  # how an upright picture lies in a file of each orientation
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}


def profile(change: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    return change(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def swap_red_and_green(data: bytes) -> bytes:
    return data.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


# columns of the matrix from linear RGB to XYZ, adapted to D50 (Display P3: Apple's profile; sRGB: IEC 61966-2-1)
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def display_p3(data: bytes) -> bytes:
    """The sRGB profile with Display P3's primaries; the transfer curve is the same."""
    changed = bytearray(data)
    for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ")):
        entry = data.index(name)
        offset = int.from_bytes(data[entry + 4 : entry + 8])
        for row in range(3):
            fixed = round(P3[row, column] * 65_536) & 0xFFFFFFFF
            changed[offset + 8 + 4 * row : offset + 12 + 4 * row] = fixed.to_bytes(4)
    return bytes(changed)


class TestProfiles:
    def test_an_srgb_profile_changes_nothing(self) -> None:
        assert np.array_equal(opened(PIL.Image.fromarray(picture()), icc_profile=profile()), picture())

    @pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
    def test_a_profile_with_swapped_channels_is_applied(self, format: str) -> None:
        options = {"lossless": True} if format == "WEBP" else {}
        image = PIL.Image.new("RGB", (8, 8), (255, 0, 0))

        pixels = opened(image, format, icc_profile=profile(swap_red_and_green), **options)

        assert np.abs(pixels.astype(int) - (0, 255, 0)).max() <= 2

    def test_display_p3_becomes_srgb(self) -> None:
        colour = np.array([200, 100, 50])
        linear = np.where(colour / 255 > 0.04045, ((colour / 255 + 0.055) / 1.055) ** 2.4, colour / 255 / 12.92)
        srgb = np.linalg.solve(SRGB, P3 @ linear)
        expected = 255 * (1.055 * srgb ** (1 / 2.4) - 0.055)

        pixels = opened(PIL.Image.new("RGB", (8, 8), tuple(colour)), icc_profile=profile(display_p3))

        assert np.abs(pixels[0, 0] - expected).max() <= 2
        assert np.abs(expected - colour).max() > 10

    def test_a_profile_is_applied_under_transparency(self) -> None:
        image = PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 255))
        image.putpixel((0, 0), (255, 0, 0, 0))

        pixels = opened(image, icc_profile=profile(swap_red_and_green))

        assert np.abs(pixels[1, 1].astype(int) - (0, 255, 0)).max() <= 2
        assert pixels[0, 0].tolist() == [127, 127, 127]

    def test_a_profile_is_applied_to_every_strip(self) -> None:
        pixels = opened(PIL.Image.new("RGB", (1500, 1500), (255, 0, 0)), icc_profile=profile(swap_red_and_green))

        assert (pixels == pixels[0, 0]).all()

    def test_an_invalid_profile_is_a_warning(self) -> None:
        image = media.open(encode(picture(), icc_profile=b"no profile" * 20), LIMITS)

        assert np.array_equal(image.frames[0].pixels, picture())
        assert "the colour profile was ignored" in image.warnings[0]

    def test_a_profile_for_other_colours_is_a_warning(self) -> None:
        buffer = io.BytesIO()
        PIL.Image.new("L", (8, 8), 90).save(buffer, "JPEG", icc_profile=profile())

        image = media.open(buffer.getvalue(), LIMITS)

        assert "'RGB' colours, the picture's are L" in image.warnings[0]
        assert np.abs(image.frames[0].pixels.astype(int) - 90).max() <= 1


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
        deadline = media.limits.Deadline(0.01)
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
