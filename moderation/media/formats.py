"""What the bytes of a file are, and what its name and content type claim."""

import re
from collections.abc import Iterable

from moderation.errors import MediaError

SUPPORTED = "JPEG, PNG, WebP, GIF, AVIF, HEIC, BMP or TIFF"

OPENED = frozenset(("JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "BMP", "TIFF"))

# first bytes → format, for the formats that are opened
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)

# first bytes → name, for image formats that are known and not opened
UNSUPPORTED: tuple[tuple[bytes, str], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\x01\0", "icon"),
    (b"\0\0\x02\0", "cursor"),
    (b"icns", "icon"),
    (b"DDS ", "DirectDraw surface"),
    (b"qoif", "QOI"),
    (b"gimp xcf", "GIMP"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
)

# first bytes → name, for what is no image at all
OTHER: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"OggS", "an Ogg stream"),
    (b"ID3", "an MP3 file"),
)

HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))

EXTENSIONS = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif", "mpo"), "JPEG"),
    **dict.fromkeys(("png", "apng"), "PNG"),
    **dict.fromkeys(("heic", "heif", "hif", "heics", "heifs"), "HEIF"),
    **dict.fromkeys(("tif", "tiff"), "TIFF"),
    **dict.fromkeys(("bmp", "dib"), "BMP"),
    **dict.fromkeys(("avif", "avifs"), "AVIF"),
    "webp": "WEBP",
    "gif": "GIF",
    "svg": "SVG",
    "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
    "psd": "Photoshop",
    "ico": "icon",
}

CONTENT_TYPES = {
    **dict.fromkeys(("jpeg", "jpg", "pjpeg", "mpo"), "JPEG"),
    **dict.fromkeys(("png", "x-png", "apng", "vnd.mozilla.apng"), "PNG"),
    **dict.fromkeys(("heic", "heif", "heic-sequence", "heif-sequence"), "HEIF"),
    **dict.fromkeys(("tiff", "tiff-fx"), "TIFF"),
    **dict.fromkeys(("bmp", "x-bmp", "x-ms-bmp"), "BMP"),
    **dict.fromkeys(("avif", "avif-sequence"), "AVIF"),
    "webp": "WEBP",
    "gif": "GIF",
    "svg+xml": "SVG",
    "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
    "vnd.adobe.photoshop": "Photoshop",
    "x-icon": "icon",
    "vnd.microsoft.icon": "icon",
}

_XML = re.compile(rb"\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg\b", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)


def sniff(data: bytes) -> str:
    """The format that the first bytes say: JPEG, PNG, GIF, WEBP, AVIF, HEIF, BMP or TIFF.

    Raises MediaError (415): `unsupported_format` for an image of another format, `not_an_image` for anything else.
    """
    found = _prefixed(data, MAGIC) or _boxed(data) or _windows(data)
    if found:
        return found
    if unsupported := _prefixed(data, UNSUPPORTED):
        raise _unsupported(unsupported)
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    if _XML.match(head):
        raise _unsupported("SVG")
    what = _prefixed(data, OTHER) or ("an HTML page" if _HTML.match(head) else "") or _textual(head)
    raise MediaError(
        f"The file is not an image: it {'is ' + what if what else 'starts with ' + data[:8].hex(' ')}.",
        code="not_an_image",
        status=415,
        hint=f"Send a {SUPPORTED} file.",
    )


def check_claims(kind: str, name: str | None, content_type: str | None) -> None:
    """Raises MediaError (415 `wrong_type`) where the name or the content type claims another image format.

    Unknown extensions and types claim nothing.
    """
    extension = (name or "").rpartition(".")[2].strip().lower() if "." in (name or "") else ""
    family, _, subtype = (content_type or "").partition(";")[0].strip().lower().partition("/")
    claims = [
        (f"the name ends in .{extension}", EXTENSIONS.get(extension)),
        (f"the content type is image/{subtype}", CONTENT_TYPES.get(subtype) if family == "image" else None),
    ]
    for said, claimed in claims:
        if claimed and claimed != kind:
            raise MediaError(
                f"The bytes are {kind}, but {said}, which means {claimed}.",
                code="wrong_type",
                status=415,
                hint="Name the file what it is, or set PALISADE_STRICT_TYPES=false.",
            )


def _prefixed(data: bytes, table: Iterable[tuple[bytes, str]]) -> str | None:
    return next((name for magic, name in table if data.startswith(magic)), None)


def _boxed(data: bytes) -> str | None:
    """Formats in RIFF and ISO base media boxes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4]), 4096)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}
    if brands & AVIF_BRANDS:
        return "AVIF"
    if brands & HEIF_BRANDS:
        return "HEIF"
    raise MediaError(
        f"The file is not an image: it is a video or audio file (brand {data[8:12].decode('ascii', 'replace')!r}).",
        code="not_an_image",
        status=415,
        hint=f"Send a {SUPPORTED} file.",
    )


def _windows(data: bytes) -> str | None:
    """BMP, whose two bytes of magic need the size of its header beside them."""
    header = int.from_bytes(data[14:18], "little")
    return "BMP" if data[:2] == b"BM" and header in (12, 16, 40, 52, 56, 64, 108, 124) else None


def _textual(head: bytes) -> str:
    text = head[:512]
    return "text" if text and not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\xff]", text) else ""


def _unsupported(name: str) -> MediaError:
    return MediaError(
        f"The file is an image of a format that is not opened: {name}.",
        code="unsupported_format",
        status=415,
        hint=f"Send it as {SUPPORTED}.",
    )
