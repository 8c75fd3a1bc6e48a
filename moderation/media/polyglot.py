"""Finds files that are an image to us and something else to whoever opens them otherwise."""

import re

from moderation.errors import MediaError

# what follows an image is refused when it starts with one of these
STARTS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"MSCF", "a cabinet archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\0asm", "a program"),
    (b"#!/", "a script"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (b"{\\rtf", "an RTF document"),
)

# and when one of these is anywhere in it; long enough not to occur by chance in a video or a second picture
_ANYWHERE = re.compile(
    rb"(?P<RAR>Rar!\x1a\x07)|(?P<sevenzip>7z\xbc\xaf\x27\x1c)|(?P<PDF>%PDF-)"
    rb"|(?P<PHP><\?php)|(?P<script><script)|(?P<HTML><html|<!doctype)|(?P<SVG><svg\b)",
    re.IGNORECASE,
)
_ANYWHERE_NAMES = {
    "RAR": "a RAR archive",
    "sevenzip": "a 7z archive",
    "PDF": "a PDF document",
    "PHP": "a PHP script",
    "script": "a script",
    "HTML": "an HTML page",
    "SVG": "an SVG picture",
}

_PDF_HEADER_WITHIN = 1024  # readers look for a PDF's header in its first 1,024 bytes
_EOCD = b"PK\x05\x06"
_EOCD_WITHIN = 22 + 65_535  # the end record of a ZIP, and the longest comment behind it


def check_polyglot(kind: str, data: bytes, end: int | None) -> str:
    """What follows the image's `end`, as a warning ('' where nothing does).

    Motion photos, gain maps and second pictures stay allowed. Raises MediaError (415 `polyglot`) for archives,
    documents, scripts and programs: a ZIP or a PDF in any format, the others behind JPEG, PNG, GIF and WebP.
    """
    if data.find(b"%PDF-", 0, _PDF_HEADER_WITHIN) >= 0:
        raise _refusal(kind, "a PDF document", "in its first bytes")
    if _has_zip(data):
        raise _refusal(kind, "a ZIP archive", "at its end")
    if kind not in ("JPEG", "PNG", "GIF", "WEBP"):
        return ""
    if end is None:
        end = max(0, len(data) - _EOCD_WITHIN)
        _check_anywhere(kind, data, end)
        return ""
    return _check_tail(kind, data, end)


def _check_tail(kind: str, data: bytes, end: int) -> str:
    start = re.compile(rb"[^\0\t\n\r ]").search(data, end)
    if start is None:
        return ""
    tail = memoryview(data)[start.start() :]
    if what := next((name for magic, name in STARTS if data.startswith(magic, start.start())), None):
        raise _refusal(kind, what, f"after byte {end:,}, where the image ends")
    if _is_windows_program(tail):
        raise _refusal(kind, "a program", f"after byte {end:,}, where the image ends")
    if bytes(tail[257:262]) == b"ustar":
        raise _refusal(kind, "a tar archive", f"after byte {end:,}, where the image ends")
    _check_anywhere(kind, data, end)
    return f"{len(data) - end:,} bytes follow the end of the image and were not scanned"


def _check_anywhere(kind: str, data: bytes, start: int) -> None:
    if (found := _ANYWHERE.search(data, start)) and found.lastgroup:
        raise _refusal(kind, _ANYWHERE_NAMES[found.lastgroup], f"at byte {found.start():,}")


def _is_windows_program(tail: memoryview) -> bool:
    """The two letters MZ alone are too common: the header that they point to is looked for."""
    if bytes(tail[:2]) != b"MZ" or len(tail) < 64:
        return False
    offset = int.from_bytes(tail[60:64], "little")
    return bytes(tail[offset : offset + 4]) == b"PE\0\0" or b"This program" in bytes(tail[:512])


def _has_zip(data: bytes) -> bool:
    """Whether ZIP tools would find an archive: an end record whose directory is where it says."""
    position, first = len(data), max(0, len(data) - _EOCD_WITHIN)
    while (position := data.rfind(_EOCD, first, position)) >= 0:
        size = int.from_bytes(data[position + 12 : position + 16], "little")
        if data[max(0, position - 20) : position].startswith(b"PK\x06\x07"):
            return True
        if 0 < size <= position and data.startswith(b"PK\x01\x02", position - size):
            return True
    return False


def _refusal(kind: str, what: str, where: str) -> MediaError:
    return MediaError(
        f"The file is {kind} and {what} at once: {what} was found {where}.",
        code="polyglot",
        status=415,
        hint="Export the image again, so that the file holds nothing else.",
    )
