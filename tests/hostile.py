"""Builds files that try to break whoever opens them: for the tests of `media.open`, of the API, and under load.

All are made here, small and harmless in content; what is hostile is their structure.
"""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif

from tests.factories import picture

pillow_heif.register_heif_opener()  # so that Pillow can write it; `media.open` does not need it

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "BMP", "TIFF")

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>"
PHP = b"<?php system($_GET['c']); ?>"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


@cache
def sample(format: str, width: int = 48, height: int = 32) -> bytes:
    """A small, sound file of the format."""
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(picture(width, height))
    image.save(buffer, format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    return buffer.getvalue()


def animation(format: str, count: int, size: tuple[int, int] = (16, 16), **options: Any) -> bytes:
    """A file of `count` different frames, pages or pictures."""
    buffer = io.BytesIO()
    frames = [PIL.Image.new("RGB", size, (i * 37 % 256, i * 11 % 256, i * 3 % 256)) for i in range(count)]
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *extra: bytes, rows: bytes | None = None, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of the given header, with `extra` chunks before its (by default too few) rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0\0\0\0" if rows is None else rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def with_chunk(data: bytes, *extra: bytes) -> bytes:
    """A sound PNG with more chunks behind its header."""
    return data[:33] + b"".join(extra) + data[33:]


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A sound JPEG with one more segment behind its start."""
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def gif(count: int, size: tuple[int, int] = (2, 2), frame: tuple[int, int] = (1, 1)) -> bytes:
    """A GIF whose `count` frames are of `frame` size: a few bytes each."""
    head = b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    body = b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0" + b"\x02\x02\x44\x01\0"
    return head + body * count + b";"


def webp(count: int, size: tuple[int, int]) -> bytes:
    """An animated WebP that shows one small frame `count` times on a canvas of `size`."""
    data = animation("WEBP", 2, (16, 16), lossless=True)
    start = data.index(b"ANMF")
    frame = data[start : start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")]
    canvas = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    body = data[12:24] + canvas + data[30:start] + (frame + bytes(len(frame) % 2)) * count
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def scans(count: int, width: int = 1024, height: int = 1024) -> bytes:
    """A progressive grey JPEG of `count` scans, each a few bytes that visit every block."""
    quantisation = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0"
    # one code of one bit for each table: DC "no difference", AC "end of band for 2^14 and more blocks"
    tables = b"\xff\xc4\0\x14\x00" + b"\1" + bytes(15) + b"\0" + b"\xff\xc4\0\x14\x10" + b"\1" + bytes(15) + b"\xe0"
    blocks = (-(-width // 8)) * (-(-height // 8))
    first = b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(-(-blocks // 8))
    runs = -(-blocks // (1 << 14))
    bits = "".join("0" + "0" * 14 for _ in range(runs))
    bits += "1" * (-len(bits) % 8)
    band = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    later = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + band
    return b"\xff\xd8" + quantisation + frame + tables + first + later * count + b"\xff\xd9"


def flat_jpeg(width: int, height: int) -> bytes:
    """A baseline colour JPEG of one colour, of any size up to 65,535 a side, at 6 bits for each 8 × 8 pixels."""
    quantisation = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", height, width) + b"\3" + b"\1\x11\0\2\x11\0\3\x11\0"
    tables = b"".join(b"\xff\xc4\0\x14" + kind + b"\1" + bytes(16) for kind in (b"\0", b"\x10"))
    blocks = -(-width // 8) * -(-height // 8)
    scan = b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" + bytes(-(-blocks * 6 // 8))
    return b"\xff\xd8" + quantisation + frame + tables + scan + b"\xff\xd9"


def tiff(*entries: tuple[int, int, int, int], next_ifd: int = 0) -> bytes:
    """A little-endian TIFF of one directory: entries are tag, type, count, value."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", next_ifd)


GREY_TIFF = (
    (256, 3, 1, 8),
    (257, 3, 1, 8),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 0),
    (279, 4, 1, 64),
)


def zip_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.php", PHP)
    return buffer.getvalue()


def truncated() -> Iterator[tuple[str, bytes]]:
    for format in FORMATS:
        data = sample(format)
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            yield f"truncated {format} at {share:.0%}", data[: int(len(data) * share)]
        for length in range(1, 41):
            yield f"first {length} bytes of a {format}", data[:length]


def bombs() -> Iterator[tuple[str, bytes]]:
    million = bytes(1_000_000)
    yield "PNG that says 50,000 × 50,000", png(50_000, 50_000)
    yield "PNG that says 2^31 × 2^31", png(2**31 - 1, 2**31 - 1)
    yield "PNG of zeros, 6,000 × 6,000", png(6_000, 6_000, rows=bytes(6_001 * 6_000), depth=8, colour=0)
    yield "PNG with more rows than it says", png(8, 8, rows=million * 20)
    text = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(million * 30))
    yield "PNG with a text that expands to 30 MB", with_chunk(sample("PNG"), text)
    small = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000)))
    yield "PNG with 200 texts that expand to 0.9 MB", with_chunk(sample("PNG"), *[small] * 200)
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(million * 30))
    yield "PNG with a profile that expands to 30 MB", with_chunk(sample("PNG"), profile)
    yield "GIF of a frame that says 65,535 × 65,535", gif(1, (65_535, 65_535), (65_535, 65_535))
    yield "GIF whose second frame outgrows the first", gif(1)[:-1] + gif(1, frame=(60_000, 60_000))[19:]
    yield "GIF of 10,000 frames", gif(10_000)
    yield "GIF of 1,900 frames on a canvas of a megapixel", gif(1_900, (1_000, 1_000))
    yield "WebP that says 16,383 × 16,383", _large_webp()
    yield (
        "BMP that says 60,000 × 60,000",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    )
    yield "TIFF that says 65,535 × 65,535", tiff(*((t, k, c, 65_535 if t < 258 else v) for t, k, c, v in GREY_TIFF))
    yield "JPEG that says 65,500 × 65,500", _resized_jpeg(65_500)
    yield "JPEG of 100 megapixels", flat_jpeg(10_000, 10_000)
    yield "JPEG of 247 megapixels", flat_jpeg(19_000, 13_000)
    yield "progressive JPEG of 900 scans", scans(900)
    yield "progressive JPEG of 50,000 scans", scans(50_000)
    yield "APNG that says 2^31 frames", with_chunk(sample("PNG"), chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))


def shapes() -> Iterator[tuple[str, bytes]]:
    yield "PNG of 0 × 0", png(0, 0)
    yield "PNG of 0 × 9", png(0, 9)
    yield "GIF of 0 × 0", gif(1, (0, 0), (0, 0))
    yield "JPEG of 0 × 48", _resized_jpeg(0)
    yield "BMP of 0 × 0", b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 0, 0, 1, 24, *[0] * 6)
    for width, height in ((1, 1), (30_000, 1), (1, 30_000)):
        for format in ("JPEG", "PNG", "GIF", "TIFF", "BMP"):
            buffer = io.BytesIO()
            PIL.Image.new("RGB", (width, height), (200, 100, 50)).save(buffer, format)
            yield f"{format} of {width:,} × {height:,}", buffer.getvalue()


def polyglots() -> Iterator[tuple[str, bytes]]:
    for format in FORMATS:
        yield f"{format} and ZIP", sample(format) + zip_archive()
    for format in ("JPEG", "PNG", "WEBP", "GIF"):
        for name, tail in (
            ("PDF", PDF),
            ("HTML", HTML),
            ("PHP", PHP),
            ("SVG", SVG),
            ("ELF", b"\x7fELF\2\1\1" + bytes(64)),
        ):
            yield f"{format} and {name}", sample(format) + tail
            yield f"{format} and {name} behind padding", sample(format) + bytes(300) + tail
        yield f"{format} and RAR", sample(format) + b"Rar!\x1a\x07\1\0" + bytes(64)
        yield f"{format} and 7z", sample(format) + b"7z\xbc\xaf\x27\x1c" + bytes(64)
        yield f"{format} and a Windows program", sample(format) + b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    yield "JPEG and a PDF in its comment", with_segment(sample("JPEG"), 0xFE, PDF)
    yield "JPEG without an end and PHP", sample("JPEG")[:-2] + PHP


def metadata() -> Iterator[tuple[str, bytes]]:
    jpeg, plain = sample("JPEG"), sample("PNG")
    noise = random.Random(1).randbytes(4_000)
    yield "JPEG with an invalid profile", with_segment(jpeg, 0xE2, b"ICC_PROFILE\0\1\1" + noise)
    yield "JPEG with a profile cut short", with_segment(jpeg, 0xE2, b"ICC_PROFILE\0\1\3" + noise)
    yield "PNG with an invalid profile", with_chunk(plain, chunk(b"iCCP", b"p\0\0" + zlib.compress(noise)))
    yield "PNG with a profile that is not compressed", with_chunk(plain, chunk(b"iCCP", b"p\0\0" + noise))
    yield "JPEG with invalid EXIF", with_segment(jpeg, 0xE1, b"Exif\0\0" + noise)
    looped = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    yield "JPEG with EXIF that points to itself", with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + looped)
    huge = struct.pack("<HHHII", 1, 0x010E, 2, 2**32 - 1, 8)
    yield "JPEG with an EXIF text of 4 GB", with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + huge)
    many = struct.pack("<H", 5_000) + struct.pack("<HHII", 0x0112, 3, 1, 99) * 5_000
    yield "JPEG with 5,000 EXIF entries", with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + many)
    segments = jpeg
    for _ in range(200):
        segments = with_segment(segments, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + bytes(65_000))
    yield "JPEG with 13 MB of EXIF", segments
    yield "PNG with 100,000 empty chunks", with_chunk(plain, chunk(b"teSt", b"") * 100_000)


def structures() -> Iterator[tuple[str, bytes]]:
    yield "TIFF whose directory follows itself", tiff(*GREY_TIFF, next_ifd=8) + bytes(64)
    yield "TIFF of two directories in a circle", _circular_tiff()
    yield "TIFF whose strips are the directory", tiff(*GREY_TIFF)
    yield (
        "TIFF of tiles of 2^31 pixels",
        tiff(*GREY_TIFF[:5], (322, 4, 1, 2**31), (323, 4, 1, 2**31), (324, 4, 1, 8), (325, 4, 1, 64)),
    )
    plain = sample("PNG")
    yield "PNG with a wrong checksum in its header", plain[:29] + b"\0\0\0\0" + plain[33:]
    yield "PNG with a wrong checksum in a text", with_chunk(plain, chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0")
    yield "PNG without data", png(8, 8)[:33] + chunk(b"IEND", b"")
    yield (
        "PNG with two headers",
        with_chunk(plain, chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))),
    )
    yield "interlaced PNG", interlaced()
    yield "APNG of 6 frames", animation("PNG", 6)
    yield "APNG with a frame missing", _short_apng()
    yield "JPEG with two frame headers", _resized_jpeg(48, again=True)
    yield "JPEG of restart markers", sample("JPEG")[:-2] + b"\xff\xd0" * 200_000 + b"\xff\xd9"
    yield "JPEG behind a run of 1 MB of 0xFF", sample("JPEG")[:2] + b"\xff" * 1_000_000 + sample("JPEG")[2:]
    yield "JPEG of nothing but markers", b"\xff\xd8\xff" + b"\xe0\0\x02\xff" * 50_000
    yield "GIF of one-byte blocks", gif(1)[:-1] + b"!\xfe" + b"\1a" * 500_000 + b"\0;"
    yield "GIF without an end", gif(3)[:-1]
    yield (
        "WebP of one million empty chunks",
        b"RIFF" + struct.pack("<I", 8_000_004) + b"WEBP" + b"JUNK\0\0\0\0" * 1_000_000,
    )
    yield "HEIC of no items", sample("HEIF")[:64]


def strangers() -> Iterator[tuple[str, bytes]]:
    yield "empty file", b""
    for length in (1, 2, 3, 8, 64):
        yield f"{length} zeros", bytes(length)
    yield "SVG", SVG
    yield "SVG behind a byte order mark", b"\xef\xbb\xbf" + SVG
    yield "text", b"This is no image.\n" * 50
    yield "HTML", HTML
    yield "PDF", PDF
    yield "ZIP", zip_archive()
    yield "MP4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64)
    yield "icon", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(64)
    yield "Photoshop", b"8BPS\0\1" + bytes(64)
    for seed in range(8):
        yield f"random bytes {seed}", random.Random(seed).randbytes(4_096)
    for format in FORMATS:
        yield f"{format} that turns random", sample(format)[:40] + random.Random(0).randbytes(4_096)


def corpus() -> Iterator[tuple[str, bytes]]:
    """Every hostile file, by name. Names are unique."""
    for part in (truncated, bombs, shapes, polyglots, metadata, structures, strangers):
        yield from part()


def mislabelled() -> Iterator[tuple[str, str, bytes]]:
    """Sound files under another format's name: (file name, content type, bytes)."""
    types = {f: f"image/{f.lower()}" for f in FORMATS}
    for format in FORMATS:
        other = FORMATS[(FORMATS.index(format) + 1) % len(FORMATS)]
        yield f"photo.{other.lower()}", types[other], sample(format)


def mutate(data: bytes, seed: int) -> bytes:
    """The file with bytes flipped, cut out, doubled or overwritten, the same for the same seed."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at, length = chance.randrange(len(changed) + 1), chance.choice((1, 2, 4, 16, 64))
        match chance.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length]
            case _:
                changed[at : at + length] = chance.choice((b"\xff", b"\0", b"\x7f")) * length
    return bytes(changed)


def interlaced() -> bytes:
    """An Adam7 PNG of 8 × 8 grey pixels, each of the value of its row × 8 + column."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in values[top::down, left::right]
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _large_webp() -> bytes:
    head = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (16_382).to_bytes(3, "little") * 2
    body = head + sample("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _resized_jpeg(side: int, *, again: bool = False) -> bytes:
    data = sample("JPEG")
    start = data.index(b"\xff\xc0")
    segment = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4])]
    changed = segment[:5] + struct.pack(">HH", side, side or 48) + segment[9:]
    return data[:start] + changed + (changed if again else b"") + data[start + len(segment) :]


def _circular_tiff() -> bytes:
    size = 2 + 12 * len(GREY_TIFF) + 4
    first = tiff(*GREY_TIFF, next_ifd=8 + size)
    return first + tiff(*GREY_TIFF, next_ifd=8)[8:] + bytes(64)


def _short_apng() -> bytes:
    data = animation("PNG", 4)
    last = data.rindex(b"fcTL") - 4
    return data[:last] + chunk(b"IEND", b"")
