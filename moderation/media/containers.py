"""Reads the outline of a file without decoding it: size, number of frames, and where the image ends.

Each walker takes time linear in the file's size and copies nothing of it. What it cannot follow it leaves out:
decoders say what is wrong with a file better than walkers do.
"""

import re
from dataclasses import dataclass

from moderation.errors import MediaError
from moderation.media.limits import Deadline, MediaLimits

MAX_SCANS = 1_000  # of a JPEG; encoders write about ten, and every one is a pass over the whole picture

_STEP = 10_000  # steps of a walker between two looks at the clock
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_GIF_BLOCK = re.compile(rb"[!,;]")
_JPEG_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCALABLE = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a segment
_MOST = 2**31 - 1


@dataclass
class Outline:
    """What the structure of a file says.

    size: width and height of its (largest) picture, None where only the decoder can tell.
    frames: how many it has, None where only the decoder can tell.
    end: offset of the first byte after the image, None where its end is missing or the format marks none.
    scans: passes over the picture that the file asks for (JPEG); buffered: the decoder holds the whole picture's
    coefficients meanwhile; scalable: it can be decoded at a half, a quarter and an eighth.
    """

    size: tuple[int, int] | None = None
    frames: int | None = 1
    end: int | None = None
    scans: int = 1
    buffered: bool = False
    scalable: bool = False


def outline(kind: str, data: bytes, limits: MediaLimits, deadline: Deadline) -> Outline:
    """The outline of a file of the format `kind`. Raises MediaError for too many frames or scans."""
    match kind:
        case "JPEG":
            return _jpeg(data, deadline)
        case "PNG":
            return _png(data, limits, deadline)
        case "GIF":
            return _gif(data, limits, deadline)
        case "WEBP":
            return _webp(data, limits, deadline)
        case "HEIF":
            _refuse_overlays(data, deadline)
    return Outline(frames=None)


def _jpeg(data: bytes, deadline: Deadline) -> Outline:
    found = Outline(scans=0)
    components = steps = 0
    position, pattern = 2, _JPEG_MARKER
    while marker := pattern.search(data, position):
        code, position, pattern = data[marker.end() - 1], marker.end(), _JPEG_MARKER
        steps += 1
        if not steps % _STEP:
            deadline.check()
        if code == 0xD9:
            found.end = position
            break
        if code in _JPEG_BARE or code == 0xD8:
            continue
        length = int.from_bytes(data[position : position + 2])
        if code in _JPEG_FRAME_HEADERS and found.size is None and length >= 8:
            height, width = (int.from_bytes(data[position + i : position + i + 2]) for i in (3, 5))
            components = data[position + 7 : position + 8][0] if len(data) > position + 7 else 0
            found.size, found.scalable, found.buffered = (width, height), code in _JPEG_SCALABLE, code in (0xC2, 0xCA)
        if code == 0xDA:
            pattern = _JPEG_MARKER_IN_SCAN
            _count_scan(found, data[position + 2 : position + 3], components)
        position += max(length, 2)
    if found.size is None:
        raise MediaError("The JPEG is damaged: it has no frame header.", code="corrupt", hint="Export the image again.")
    return found


def _count_scan(found: Outline, scanned: bytes, components: int) -> None:
    found.scans += 1
    found.buffered |= bool(scanned) and scanned[0] < components
    if found.scans > MAX_SCANS:
        raise MediaError(
            f"The JPEG has more than {MAX_SCANS:,} scans, which is the limit.",
            code="too_many_scans",
            status=413,
            hint="Export the image again; encoders write about ten scans.",
        )


def _png(data: bytes, limits: MediaLimits, deadline: Deadline) -> Outline:
    found = Outline()
    position, steps = 8, 0
    while position + 8 <= len(data):
        steps += 1
        if not steps % _STEP:
            deadline.check()
        length, name = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        body = position + 8
        if name == b"IHDR" and found.size is None and body + 8 <= len(data):
            found.size = int.from_bytes(data[body : body + 4]), int.from_bytes(data[body + 4 : body + 8])
        elif name == b"acTL" and 0 < (count := int.from_bytes(data[body : body + 4])) <= _MOST:
            found.frames = count
            limits.check_frames(count)
        position = body + length + 4
        if name == b"IEND":
            found.end = min(position, len(data))
            break
    return found


def _gif(data: bytes, limits: MediaLimits, deadline: Deadline) -> Outline:
    """Counts the frames by their blocks; stops at the limit, so that a long file costs no more than a short one."""
    found = Outline(frames=0)
    frames = width = height = 0
    try:
        width, height = _little(data, 6), _little(data, 8)
        position = 13 + _colours(data[10])
        while block := _GIF_BLOCK.search(data, position):
            position = block.end()
            if block[0] == b";":
                found.end = position
                break
            if block[0] == b"!":
                position = _blocks_end(data, position + 1, deadline)
                continue
            width = max(width, _little(data, position) + _little(data, position + 4))
            height = max(height, _little(data, position + 2) + _little(data, position + 6))
            position = _blocks_end(data, position + 9 + _colours(data[position + 8]) + 1, deadline)
            frames += 1
            limits.check_frames(frames, more=True)
    except IndexError:
        frames += not frames  # a file cut off in its first frame: the decoder will say so
    found.size, found.frames = (width, height), frames
    return found


def _little(data: bytes, position: int) -> int:
    return data[position] | data[position + 1] << 8


def _colours(flags: int) -> int:
    """Bytes of the colour table that the flags of a GIF's screen or frame announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(data: bytes, position: int, deadline: Deadline) -> int:
    """The offset behind a chain of GIF sub-blocks. Raises IndexError where it is cut off."""
    while True:
        for _ in range(_STEP):
            length = data[position]
            position += length + 1
            if not length:
                return position
        deadline.check()


def _webp(data: bytes, limits: MediaLimits, deadline: Deadline) -> Outline:
    size = int.from_bytes(data[4:8], "little")
    end = 8 + size + size % 2
    found = Outline(end=min(end, len(data)) if 8 + size <= len(data) else None)
    frames = steps = 0
    position = 12
    while position + 8 <= min(end, len(data)):
        steps += 1
        if not steps % _STEP:
            deadline.check()
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if found.size is None:
            found.size = _webp_size(name, data[position + 8 : position + 18])
        if name == b"ANMF":
            frames += 1
            limits.check_frames(frames, more=True)
        position += 8 + length + length % 2
    if found.size is None:
        raise MediaError("The WebP is damaged: it has no header.", code="corrupt", hint="Export the image again.")
    found.frames = max(frames, 1)
    return found


def _webp_size(name: bytes, head: bytes) -> tuple[int, int] | None:
    """Width and height in the first bytes of a VP8X, VP8L or VP8 chunk."""
    if name == b"VP8X" and len(head) >= 10:
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if name == b"VP8L" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and len(head) >= 10:
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return None


def _refuse_overlays(data: bytes, deadline: Deadline) -> None:
    """Raises MediaError for a HEIC of overlays: a small file of them can ask for the same picture a thousand times."""
    position = 0
    while position + 8 <= len(data):
        deadline.check()
        length, name = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16])
        end = position + length if length else len(data)
        if name == b"meta" and data.find(b"iovl", position, end) >= 0:
            raise MediaError(
                "The HEIC file is an overlay of several pictures, which are not opened.",
                code="unsupported_format",
                status=415,
                hint="Export it as one picture.",
            )
        if end <= position + 7:
            break
        position = end
