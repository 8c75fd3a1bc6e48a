"""Turns a decoded picture of any mode into upright RGB pixels: sRGB, opaque, bounded."""

import io
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageCms

from detectors.image import Pixels

NEUTRAL = 127  # what shows through where a picture is transparent
MAX_PROFILE_BYTES = 4_000_000

_STRIP = 1 << 20  # source pixels that are converted at once
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SAME = 2  # levels that a profile may move a colour by and still count as sRGB

Convert = Callable[[PIL.Image.Image], PIL.Image.Image]


class Colours:
    """Converts strips of one picture to opaque sRGB.

    notes: gets a text for what had to be passed over (an invalid profile, say).
    """

    def __init__(self, picture: PIL.Image.Image, notes: list[str]) -> None:
        self._levels = _levels(picture, notes) if picture.mode in _DEEP else None
        self._transform = _transform(_plain_mode(picture), picture.info.get("icc_profile"), notes)

    def __call__(self, strip: PIL.Image.Image) -> PIL.Image.Image:
        """The strip in mode RGB."""
        if self._levels:
            return self._srgb(self._levels(strip))
        if not strip.has_transparency_data:
            return self._srgb(strip if strip.mode == _plain_mode(strip) else strip.convert(_plain_mode(strip)))
        strip = strip.convert("RGBA")
        ground = PIL.Image.new("RGB", strip.size, (NEUTRAL, NEUTRAL, NEUTRAL))
        ground.paste(self._srgb(strip.convert("RGB")), mask=strip.getchannel("A"))
        return ground

    def _srgb(self, strip: PIL.Image.Image) -> PIL.Image.Image:
        transformed = self._transform.apply(strip) if self._transform else strip
        return transformed if transformed.mode == "RGB" else transformed.convert("RGB")


def to_pixels(picture: PIL.Image.Image, most: int, notes: list[str]) -> Pixels:
    """The picture's pixels, scaled down to `most` where it has more: RGB uint8, (height, width, 3), C-contiguous.

    Works through the picture in strips, so that no second copy of it at full size is ever held.
    """
    width, height = fit(picture.size, most)
    colours = Colours(picture, notes)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP * height // max(1, picture.width * picture.height))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        pixels[top:bottom] = np.asarray(_strip(picture, colours, (width, height), top, bottom))
    return pixels


def _strip(picture: PIL.Image.Image, colours: Colours, size: tuple[int, int], top: int, bottom: int) -> PIL.Image.Image:
    """Rows `top` to `bottom` of the picture as it is at `size`."""
    if size == picture.size:
        whole = bottom - top == picture.height
        return colours(picture if whole else picture.crop((0, top, picture.width, bottom)))
    scale = picture.height / size[1]
    margin = math.ceil(scale) + 1  # the filter reaches this far beyond a strip
    first, last = max(0, int(top * scale) - margin), min(picture.height, math.ceil(bottom * scale) + margin)
    strip = colours(picture.crop((0, first, picture.width, last)))
    box = (0, top * scale - first, picture.width, min(bottom * scale, picture.height) - first)
    return strip.resize((size[0], bottom - top), PIL.Image.Resampling.HAMMING, box=box)


def fit(size: tuple[int, int], most: int) -> tuple[int, int]:
    """The largest size of the same shape with at most `most` pixels, each side at least one."""
    width, height = size
    if width * height <= most:
        return size
    scale = math.sqrt(most / (width * height))
    width, height = min(most, max(1, int(width * scale))), min(most, max(1, int(height * scale)))
    width = min(width, most // height)
    return width, min(height, most // width)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels turned as EXIF's orientation says (1 to 8), C-contiguous and read-only."""
    turned = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: p.swapaxes(0, 1)[:, ::-1],
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: p.swapaxes(0, 1)[::-1],
    }.get(orientation, lambda p: p)(pixels)
    turned = np.ascontiguousarray(turned)
    turned.flags.writeable = False
    return turned


def _plain_mode(picture: PIL.Image.Image) -> str:
    """The mode that a picture's colours are in, without palette and alpha: L, RGB or CMYK."""
    if picture.mode in ("1", "L", "LA", "La", *_DEEP):
        return "L" if not picture.has_transparency_data or picture.mode in _DEEP else "RGB"
    return "CMYK" if picture.mode == "CMYK" else "RGB"


def _levels(picture: PIL.Image.Image, notes: list[str]) -> Convert:
    """Maps a picture of more than 8 bits to mode L.

    16 bits are scaled from their full range. Integers of 32 bits and floats have no range of their own: it is taken
    from the values, as [0, 1], [0, 255] or [0, 65535] where they lie in it and from lowest to highest otherwise.
    """
    if picture.mode.startswith("I;16"):
        low, high = 0.0, 65_535.0
    else:
        low, high = _range(picture)
        notes.append(f"values of {picture.mode} pixels were scaled from [{low:g}, {high:g}]")

    def convert(strip: PIL.Image.Image) -> PIL.Image.Image:
        values: NDArray[np.float32] = np.nan_to_num(np.asarray(strip).astype(np.float32), posinf=high, neginf=low)
        scaled = (values - np.float32(low)) * np.float32(255 / (high - low))
        return PIL.Image.fromarray((np.clip(scaled, 0, 255) + np.float32(0.5)).astype(np.uint8))

    return convert


def _range(picture: PIL.Image.Image) -> tuple[float, float]:
    values = np.asarray(picture)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low >= 0:
        tops = (1.0, 255.0, 65_535.0) if picture.mode == "F" else (255.0, 65_535.0)
        if top := next((top for top in tops if high <= top), None):
            return 0.0, top
    if not np.isfinite(high - low) or high - low < np.finfo(np.float32).tiny:
        return low, low + max(1.0, abs(low))
    return low, high


def _transform(mode: str, profile: object, notes: list[str]) -> ImageCms.ImageCmsTransform | None:
    """The way from a picture's embedded profile to sRGB; None where there is none to go, or none that can be gone."""
    if not isinstance(profile, bytes) or not profile:
        return None
    if len(profile) > MAX_PROFILE_BYTES:
        notes.append(f"the colour profile was ignored: it has {len(profile):,} bytes")
        return None
    transform, note = _built(mode, profile)
    if note:
        notes.append(note)
    return transform


@lru_cache(maxsize=16)
def _built(mode: str, profile: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if _SPACES.get(space) != mode:
            return (
                None,
                f"the colour profile was ignored: it is for {space.strip()!r} colours, the picture's are {mode}",
            )
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
        return None, f"the colour profile was ignored: {str(error) or 'it is invalid'}"
    return (None if _is_identity(transform, mode) else transform), ""


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether the transform leaves RGB or grey as it is, as that of an sRGB profile should, within rounding."""
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    probe = PIL.Image.fromarray(grid)
    moved, plain = np.asarray(transform.apply(probe)), np.asarray(probe.convert("RGB"))
    return bool(np.abs(moved.astype(np.int16) - plain).max() <= _SAME)


_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
