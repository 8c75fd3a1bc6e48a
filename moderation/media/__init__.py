"""Opens image files that may be hostile: bounded in bytes, pixels, frames and time, upright and in sRGB."""

from detectors.image import Image
from moderation.errors import MediaError
from moderation.media.containers import outline
from moderation.media.decoding import Decoding
from moderation.media.formats import check_claims, sniff
from moderation.media.limits import Deadline, MediaLimits
from moderation.media.notices import collect
from moderation.media.polyglot import check_polyglot

__all__ = ["MediaError", "MediaLimits", "open"]

MAX_WARNINGS = 20


def open(data: bytes, limits: MediaLimits, *, name: str | None = None, content_type: str | None = None) -> Image:
    """Open an image file: JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF.

    name, content_type: what the sender calls it; under `strict_types` they may not claim another image format.
    Frames are RGB uint8, read-only, upright, in sRGB, over a neutral grey where they are transparent, and together
    have at most `working_pixels` pixels. Animations and pages are sampled evenly, first and last included.
    `Image.warnings` says what was wrong and could be passed over.

    Raises MediaError, whose `error_code` is one of:
    415: `not_an_image`, `unsupported_format`, `wrong_type`, `polyglot`;
    413: `too_many_bytes`, `too_many_pixels`, `too_many_frames`, `too_many_scans`;
    422: `empty`, `no_pixels`, `truncated`, `corrupt`, `metadata_too_large`, `took_too_long`.
    Nothing is written to disk. Large pictures wait until others are done (`moderation.media.gate`).
    """
    limits.check_bytes(len(data))
    kind = sniff(data)
    if limits.strict_types:
        check_claims(kind, name, content_type)
    deadline = Deadline(limits.max_seconds)
    found = outline(kind, data, limits, deadline)
    trailing = check_polyglot(kind, data, found.end)
    with collect() as notes:
        decoded = Decoding(kind, data, found, limits, deadline, notes).run()
    texts = dict.fromkeys([trailing, *notes] if trailing else notes)
    return Image(
        data=data,
        format=kind,
        width=decoded.width,
        height=decoded.height,
        frames=decoded.frames,
        frame_count=decoded.frame_count,
        warnings=tuple(texts)[:MAX_WARNINGS],
    )
