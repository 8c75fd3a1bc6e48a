"""The few EXIF tags that say how a picture was made.

A reader of our own, because Pillow's warns through process-wide state and reads everything (CIPA DC-008, TIFF 6.0).
"""

import struct
from collections.abc import Iterator

TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x9286: "UserComment",
    0x9C9C: "XPComment",
    0x9C9E: "XPKeywords",
}
EXIF_DIRECTORY = 0x8769
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 129: 1}
TEXTS = (1, 2, 7, 129)
"""Types that hold texts: bytes, ASCII, undefined, and EXIF 3's UTF-8."""
MOST_ENTRIES = 500
MOST_BYTES = 1_000_000
LOOKED_AT = 2_000
"""Characters of a text by which its byte order is told."""


def read_exif(block: bytes) -> dict[str, str]:
    """The known tags of a TIFF structure as texts, by name. Never raises; what is malformed is passed over."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return {}
    found: dict[str, str] = {}
    directories = [struct.unpack_from(order + "I", block, 4)[0]]
    while directories:
        for tag, kind, value in _entries(block, order, directories.pop()):
            if tag == EXIF_DIRECTORY and len(value) == 4 and not found.get("_exif"):
                found["_exif"] = "read"
                directories.append(struct.unpack(order + "I", value)[0])
            elif tag in TAGS and kind in TEXTS and TAGS[tag] not in found:
                found[TAGS[tag]] = _text(tag, value, order)
    found.pop("_exif", None)
    return found


def _entries(block: bytes, order: str, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Tag, type and bytes of each entry of the directory at an offset."""
    if at + 2 > len(block):
        return
    count = min(struct.unpack_from(order + "H", block, at)[0], MOST_ENTRIES)
    for start in range(at + 2, at + 2 + 12 * count, 12):
        if start + 12 > len(block):
            return
        tag, kind, number = struct.unpack_from(order + "HHI", block, start)
        size = SIZES.get(kind, 0) * number
        where = start + 8 if size <= 4 else struct.unpack_from(order + "I", block, start + 8)[0]
        yield tag, kind, block[where : where + min(size, MOST_BYTES)]


def _text(tag: int, value: bytes, order: str) -> str:
    if TAGS[tag].startswith("XP"):
        return value.decode("utf-16-le", "replace").rstrip("\0")
    if TAGS[tag] == "UserComment":
        mark, body = value[:8], value[8:]
        if mark.startswith(b"UNICODE"):
            # Generators write big-endian whatever the structure's order is: take the order that gives more letters.
            both = [body.decode(f"utf-16-{way}", "replace") for way in (("le", "be") if order == "<" else ("be", "le"))]
            return max(both, key=lambda text: sum(c.isascii() for c in text[:LOOKED_AT])).rstrip("\0")
        value = body if mark.startswith((b"ASCII", b"\0\0\0\0\0\0\0\0")) else value
    return value.decode("utf-8", "replace").rstrip("\0 ")
