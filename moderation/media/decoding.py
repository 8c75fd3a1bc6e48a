"""Decodes the frames of a file within its limits."""

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, repeat

import PIL.Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile, open_heif

from detectors.image import Frame
from moderation.errors import MediaError
from moderation.media.colour import to_pixels, upright
from moderation.media.containers import Outline
from moderation.media.gate import GATE
from moderation.media.limits import BoundedReader, Deadline, MediaLimits
from moderation.media.notices import silence_libtiff

# Sizes are checked here, against limits that differ by format and caller; Pillow's own is one for the process.
PIL.Image.MAX_IMAGE_PIXELS = None
silence_libtiff()

# Each decoder is called by its class: no other one is ever tried, and a JPEG is never taken for a multi-picture file.
DECODERS: dict[str, Callable[[BoundedReader], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "AVIF": AvifImageFile,
    "HEIF": HeifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}

# most bytes that a decoder holds for each pixel, with Pillow's own copy; measured at 40 megapixels: WebP 14, AVIF 7 and
# HEIC 6 (at 4:2:0, half of 4:4:4), PNG and JPEG 4
BYTES_PER_PIXEL = {"JPEG": 4, "PNG": 4, "BMP": 4, "TIFF": 8, "GIF": 12, "WEBP": 16, "AVIF": 14, "HEIF": 14}
ANIMATED_BYTES_PER_PIXEL = 12
COEFFICIENT_BYTES_PER_PIXEL = 6

SEQUENTIAL = ("GIF", "PNG", "WEBP", "AVIF")  # a frame is drawn over the ones before it
STEP_PIXELS = 64_000_000  # that are decoded between two looks at the clock
FIRST_TURNED = 5  # EXIF orientations from here on swap width and height
SCAN_BLOCK = 4096  # bytes that a JPEG of many scans is read by; 64 KB could hold a thousand scans

# what Pillow and its decoders raise on damaged files
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    BufferError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_EXPANDS = re.compile("decompressed data too large|too much memory used in text", re.IGNORECASE)

Size = tuple[int, int]


@dataclass(frozen=True)
class Decoded:
    """The sampled frames of a file; `width` and `height` are the first picture's, upright and at full size."""

    width: int
    height: int
    frames: tuple[Frame, ...]
    frame_count: int


@dataclass(frozen=True)
class Decoding:
    """One file that is being decoded.

    kind: its format; outline: of the same bytes. notes: gets a text for what is passed over.
    """

    kind: str
    data: bytes
    outline: Outline
    limits: MediaLimits
    deadline: Deadline
    notes: list[str] = field(default_factory=list)

    def run(self) -> Decoded:
        """Decode as many frames as are sampled. Raises MediaError where the file breaks a limit or is damaged."""
        with damage(self.kind):
            if self.outline.size is None:
                picture = self._decoder()
                frame_count, largest = self._survey(picture)
                with self._turn(largest, frame_count):
                    return self._sample(picture, frame_count)
            self._check_size(self.outline.size)
            frame_count = self.outline.frames or 1
            with self._turn(self.outline.size, frame_count):
                return self._sample(self._decoder(), frame_count)

    def _decoder(self) -> ImageFile:
        return DECODERS[self.kind](BoundedReader(self.data, self.deadline))

    def _check_size(self, size: Size) -> None:
        if self.kind != "JPEG" or not self.outline.scalable:
            self.limits.check_pixels(size)
        elif self.outline.buffered:
            self.limits.check_pixels(size, why=" for a progressive JPEG, which has to be held whole,")
        else:
            self.limits.check_pixels(size, name="max_jpeg_pixels", why=" for a JPEG")

    def _survey(self, picture: ImageFile) -> tuple[int, Size]:
        """How many frames there are, and the size of the largest: the pages of a TIFF or HEIC differ."""
        self.limits.check_pixels(picture.size)
        frame_count, largest = 0, picture.size
        for size in _sizes(self.kind, picture, self.data):
            self.deadline.check()
            self.limits.check_pixels(size)
            largest = max(largest, size, key=lambda size: size[0] * size[1])
            frame_count += 1
            self.limits.check_frames(frame_count, more=True)
        return frame_count, largest

    @contextmanager
    def _turn(self, size: Size, frame_count: int) -> Iterator[None]:
        """A turn at decoding a picture of this size; waiting for it does not count as time spent."""
        pixels, each = size[0] * size[1], BYTES_PER_PIXEL[self.kind]
        if self.kind in SEQUENTIAL and frame_count > 1:
            each = max(each, ANIMATED_BYTES_PER_PIXEL)
        cost = each * pixels // self._reduction**2 + COEFFICIENT_BYTES_PER_PIXEL * pixels * self.outline.buffered
        with GATE.hold(cost) as waited:
            self.deadline.extend(waited)
            yield

    @property
    def _reduction(self) -> int:
        """The scale (1, 2, 4, 8) that a JPEG is decoded at: whole to `max_pixels`, within `working_pixels` above."""
        pixels = self.outline.size[0] * self.outline.size[1] if self.outline.size else 0
        if not self.outline.scalable or pixels <= self.limits.max_pixels:
            return 1
        return next((scale for scale in (2, 4) if pixels <= self.limits.working_pixels * scale**2), 8)

    def _sample(self, picture: ImageFile, frame_count: int) -> Decoded:
        (width, height), first = picture.size, picture.tell()
        if self.outline.size not in (None, picture.size) and self.kind != "GIF":
            raise ValueError(f"it says two sizes, {self.outline.size} and {picture.size}")
        self._prepare(picture)
        indices = spread(frame_count, self.limits.sampled_frames)
        if first not in indices:
            indices = sorted((first, *indices[1:]))
        most = max(1, self.limits.working_pixels // len(indices))
        frames, turned = [], False
        for index in indices:
            self._go_to(index, picture, frame_count)
            orientation = self._orientation(picture)
            turned |= index == first and orientation >= FIRST_TURNED
            frames.append(Frame(index, upright(to_pixels(picture, most, self.notes), orientation)))
        return Decoded(*((height, width) if turned else (width, height)), tuple(frames), frame_count)

    def _prepare(self, picture: ImageFile) -> None:
        if (scale := self._reduction) > 1:
            picture.draft(None, (picture.width // scale, picture.height // scale))
        if self.outline.buffered:
            picture.decodermaxblock = SCAN_BLOCK

    def _go_to(self, index: int, picture: ImageFile, frame_count: int) -> None:
        """Load a frame; in steps through those it builds on, so that the clock is looked at in between."""
        if self.kind in SEQUENTIAL and frame_count > 1:
            step = max(1, STEP_PIXELS // max(1, picture.width * picture.height))
            for between in range(picture.tell() + step, index, step):
                self._load(between, picture)
        self._load(index, picture)

    def _load(self, index: int, picture: ImageFile) -> None:
        self.deadline.check()
        picture.seek(index)
        picture.load()

    def _orientation(self, picture: ImageFile) -> int:
        """The orientation that the loaded picture's EXIF asks for, 1 where it says none."""
        data = picture.info.get("exif")
        if self.kind == "TIFF" or not isinstance(data, bytes) or not data:  # Pillow has turned the pages of a TIFF
            return 1
        exif = PIL.Image.Exif()
        try:
            exif.load(data)
            orientation = exif.get(Base.Orientation, 1)
        except DAMAGE as error:
            self.notes.append(f"the EXIF data was ignored: {error}")
            return 1
        return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


@contextmanager
def damage(kind: str) -> Iterator[None]:
    """Turns what decoders raise on damaged files into a MediaError that says it."""
    try:
        yield
    except DAMAGE as error:
        said = "".join(c for c in str(error) if c.isprintable())[:200].rstrip(".") or type(error).__name__
        if _EXPANDS.search(said):
            raise MediaError(
                f"The {kind}'s metadata expands beyond what is read: {said}.",
                code="metadata_too_large",
                hint="Export the image again without its text and profile chunks.",
            ) from error
        cut = isinstance(error, EOFError) or "trunc" in said.lower()
        raise MediaError(
            f"The {kind} is {'cut off' if cut else 'damaged'}: {said}.",
            code="truncated" if cut else "corrupt",
            hint="Upload it again, or export it again from the program that made it.",
        ) from error


def spread(frame_count: int, most: int) -> list[int]:
    """At most `most` of the frames, evenly spread, the first and the last among them."""
    if frame_count <= most:
        return list(range(frame_count))
    if most == 1:
        return [0]
    return [round(i * (frame_count - 1) / (most - 1)) for i in range(most)]


def _sizes(kind: str, picture: ImageFile, data: bytes) -> Iterable[Size]:
    """The size of every frame, as the headers say."""
    if kind == "TIFF":
        return _page_sizes(picture)
    if kind == "HEIF":
        return (page.size for page in open_heif(data))  # a seek would allocate each page before its size is known
    return repeat(picture.size, getattr(picture, "n_frames", 1))


def _page_sizes(picture: ImageFile) -> Iterator[Size]:
    for page in count():
        try:
            picture.seek(page)
        except EOFError:
            break
        yield picture.size
    picture.seek(0)
