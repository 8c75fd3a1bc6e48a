"""Opening sound images of every format: what they look like, and what is said of them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from moderation import media
from moderation.errors import MediaError
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
