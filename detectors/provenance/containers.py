"""Takes the metadata out of image files, without decoding them and within bounds.

Malformed parts are passed over: metadata proves nothing by being absent or broken.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_PARTS = 2_000
MOST_SKIPPED = 200_000
"""Parts of a PNG's pixels that are stepped over."""
MOST_BYTES = 4_000_000
"""No text of a file is read further than this, inflated or not."""
MOST_TOTAL = 12_000_000
"""Nor all its texts together: a file has thousands of places for small bombs."""
PIECE = 65_536

EXIF_MARK = b"Exif\0\0"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass
class Metadata:
    """texts: keyed texts as PNG has them, in order. exif: a TIFF structure, b'' for none. xmp: an XMP packet's text.

    left: bytes of text that may still be read.
    """

    texts: dict[str, str] = field(default_factory=dict)
    exif: bytes = b""
    xmp: str = ""
    left: int = MOST_TOTAL

    def add(self, key: str, value: bytes) -> None:
        """Keep a text; the first of a key counts, and all count towards what is left."""
        self.left -= len(value)
        if key == "XML:com.adobe.xmp":
            self.xmp = self.xmp or value.decode("utf-8", "replace")
        elif key not in self.texts:
            self.texts[key] = _decode(value)

    @property
    def limit(self) -> int:
        """How many bytes the next text may have."""
        return max(0, min(MOST_BYTES, self.left))


def read_metadata(data: bytes, format: str) -> Metadata:
    """What an image file carries beside its pixels. Never raises."""
    found = Metadata()
    readers = {"PNG": _png, "JPEG": _jpeg, "MPO": _jpeg, "WEBP": _webp, "GIF": _gif}
    if format in readers:
        readers[format](data, found)
    elif format == "TIFF":
        found.exif = data
    else:
        _boxes(data, found)
    if not found.xmp:
        found.xmp = _xmp_packet(data)
    return found


def _png(data: bytes, found: Metadata) -> None:
    for kind, body in _png_chunks(data):
        if kind == b"eXIf":
            found.exif = found.exif or body
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and found.limit:
            key, separator, rest = body.partition(b"\0")
            if separator and len(key) <= 79:
                found.add(key.decode("latin-1"), _png_text(kind, rest, found.limit))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk but the pixels', which may be many and have texts behind them."""
    at, parts, skipped = 8, 0, 0
    while at + 12 <= len(data) and parts < MOST_PARTS and skipped < MOST_SKIPPED:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            skipped += 1
        else:
            parts += 1
            yield kind, data[at + 8 : at + 8 + min(length, MOST_BYTES)]
        at += 12 + length


def _png_text(kind: bytes, rest: bytes, limit: int) -> bytes:
    """The text of a chunk behind its key (PNG, third edition, 11.3.3)."""
    if kind == b"tEXt":
        return rest[:limit]
    if kind == b"zTXt":
        return inflate(rest[1:], limit)
    compressed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)
    text = parts[-1] if len(parts) == 3 else b""
    return inflate(text, limit) if compressed else text[:limit]


def inflate(data: bytes, limit: int = MOST_BYTES) -> bytes:
    """Inflate at most `limit` bytes; of a broken stream, what it gave until there."""
    inflater, text = zlib.decompressobj(), bytearray()
    while data and len(text) < limit and not inflater.eof:
        try:
            text += inflater.decompress(data, min(PIECE, limit - len(text)))
        except zlib.error:
            break
        data = inflater.unconsumed_tail
    return bytes(text)


def _decode(text: bytes) -> str:
    """UTF-8 where it is, though the specification says Latin-1: generators write prompts so."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _jpeg(data: bytes, found: Metadata) -> None:
    at = 2
    for _ in range(MOST_PARTS):
        # Any number of fill bytes may come before a marker.
        while at + 4 <= len(data) and data[at] == data[at + 1] == 0xFF:
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker in (0xDA, 0xD9):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(EXIF_MARK):
            found.exif = found.exif or body[len(EXIF_MARK) :]
        elif marker == 0xE1 and body.startswith(XMP_MARK):
            found.xmp = found.xmp or body[len(XMP_MARK) :].decode("utf-8", "replace")
        elif marker == 0xFE:
            found.add("Comment", body)
        at += 2 + max(length, 2)


def _webp(data: bytes, found: Metadata) -> None:
    at = 12
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + min(length, MOST_BYTES)]
        if kind == b"EXIF":
            found.exif = found.exif or body.removeprefix(EXIF_MARK)
        elif kind == b"XMP ":
            found.xmp = found.xmp or body.decode("utf-8", "replace")
        at += 8 + length + length % 2


def _gif(data: bytes, found: Metadata) -> None:
    start = data.find(b"\x21\xfe")
    if start < 0:
        return
    at, text = start + 2, bytearray()
    while at < len(data) and data[at] and len(text) < MOST_BYTES:
        text += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    found.add("Comment", bytes(text))


EXIF_ITEM = re.compile(rb"(?:\0\0\0\0|Exif\0\0)(?=II\*\0|MM\0\*)")
"""How an EXIF item begins: how far on its TIFF header is, and the mark where it is further (ISO 23008-12, annex A)."""


def _boxes(data: bytes, found: Metadata) -> None:
    """AVIF and HEIC keep EXIF as an item, in their media data as a rule: its first bytes tell it."""
    item = EXIF_ITEM.search(data)
    if item:
        found.exif = data[item.end() : item.end() + MOST_BYTES]


def _xmp_packet(data: bytes) -> str:
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    return data[start : min(end, start + MOST_BYTES)].decode("utf-8", "replace") if 0 <= start < end else ""
