"""What opening one file may cost, and the refusals that name the limit."""

import io
import time
from dataclasses import dataclass

from moderation.errors import MediaError
from moderation.settings import PREFIX, Settings


@dataclass(frozen=True)
class MediaLimits:
    """Bounds on one file, each the setting of the same name (`moderation.settings` says what it means)."""

    max_bytes: int
    max_pixels: int
    max_jpeg_pixels: int
    working_pixels: int
    max_frames: int
    sampled_frames: int
    max_seconds: float
    strict_types: bool

    @classmethod
    def of(cls, settings: Settings) -> "MediaLimits":
        """The limits that the settings say."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})

    def check_bytes(self, size: int) -> None:
        """Raises MediaError where a file of `size` bytes is empty or too large."""
        if not size:
            raise MediaError(
                "The file is empty.", code="empty", hint="Send the image's bytes; the upload may have been cut off."
            )
        if size > self.max_bytes:
            raise MediaError(
                f"The file has {size:,} bytes, the limit is {self.max_bytes:,} ({setting('max_bytes')}).",
                code="too_many_bytes",
                status=413,
                hint=f"Send a smaller file, or raise {setting('max_bytes')}.",
            )

    def check_pixels(self, size: tuple[int, int], *, name: str = "max_pixels", why: str = "") -> None:
        """Raises MediaError where a picture of `size` has no pixels, or more than the limit of that `name`."""
        width, height = size
        limit = getattr(self, name)
        if width < 1 or height < 1:
            raise MediaError(
                f"The picture is {width} × {height} pixels: it has no area.",
                code="no_pixels",
                hint="Export the image again.",
            )
        if width * height > limit:
            raise MediaError(
                f"The picture has {width:,} × {height:,} = {width * height:,} pixels, "
                f"the limit{why} is {limit:,} ({setting(name)}).",
                code="too_many_pixels",
                status=413,
                hint=f"Scale the picture down, or raise {setting(name)}.",
            )

    def check_frames(self, count: int, *, more: bool = False) -> None:
        """Raises MediaError where a file has more frames than the limit. `more`: there are at least `count`."""
        if count > self.max_frames:
            raise MediaError(
                f"The file has {'at least ' if more else ''}{count:,} frames, "
                f"the limit is {self.max_frames:,} ({setting('max_frames')}).",
                code="too_many_frames",
                status=413,
                hint=f"Send a shorter animation, or raise {setting('max_frames')}.",
            )


class Deadline:
    """The moment by which a file must be open."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raises MediaError once the time is up."""
        if time.monotonic() > self._end:
            raise MediaError(
                f"Opening the file took longer than {self.seconds:g} s ({setting('max_seconds')}).",
                code="took_too_long",
                hint=f"Export the image again, plainly and smaller, or raise {setting('max_seconds')}.",
            )

    def extend(self, seconds: float) -> None:
        """Do not count `seconds` that were spent waiting for others."""
        self._end += seconds


class BoundedReader(io.BytesIO):
    """A file in memory that cannot be read past a deadline.

    Decoders read in blocks while they decode, so this ends one in the middle of a picture. It shares the bytes it
    was given; nothing is copied.
    """

    def __init__(self, data: bytes, deadline: Deadline) -> None:
        super().__init__(data)
        self.deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        self.deadline.check()
        return super().read(size)


def setting(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"
