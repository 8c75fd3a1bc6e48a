"""Takes chance out of a signed C2PA manifest, so that the same picture and facts are the same bytes.

The C2PA library puts a random salt (box `c2sh`) into each assertion, so that a redacted one cannot be guessed. What we
assert is no secret, and a dataset that is made again has to be the same. Each salt is replaced by one that follows from
the picture, and what depends on it is made anew: the assertion's hash in the claim, and the signature of the claim. Every
replacement keeps its length, so the hash over the rest of the file still holds (C2PA 2.2, sections 8.4 and 15.10).
"""

import hashlib
import re
import zlib
from collections.abc import Callable

SALT = re.compile(rb"\x00\x00\x00\x18c2sh(.{16})", re.DOTALL)
SUPERBOX = b"jumb"
PNG = b"\x89PNG\r\n\x1a\n"


def unsalted(signed: bytes, sign: Callable[[bytes], bytes], identity: str) -> bytes:
    """The file with salts that follow from `identity`.

    sign: as the file was signed, and always the same for the same bytes, as Ed25519 is. Raises ValueError when the file is
    not built as expected.
    """
    before = sign(_to_be_signed(signed))
    for number, found in enumerate(SALT.finditer(signed)):
        salt = hashlib.sha256(f"{identity}/{number}".encode()).digest()[:16]
        start, end = _superbox(signed, found.start())
        box = signed[start:end].replace(found.group(1), salt)
        hashes = hashlib.sha256(signed[start:end]).digest(), hashlib.sha256(box).digest()
        signed = _replaced(signed[:start] + box + signed[end:], *hashes)
    return _with_checksum(_replaced(signed, before, sign(_to_be_signed(signed))))


def _to_be_signed(data: bytes) -> bytes:
    """What the signature is of: COSE's Sig_structure (RFC 9052, section 4.4) around the claim."""
    claim, cose = _content(data, b"c2pa.claim.v2\0"), _content(data, b"c2pa.signature\0")
    if cose[:2] != b"\xd2\x84":  # COSE_Sign1: tag 18, an array of four, the protected header first
        raise ValueError("the signature is no COSE_Sign1")
    protected = cbor_read_bytes(cose[2:])
    return b"\x84\x6aSignature1" + cbor_bytes(protected) + cbor_bytes(b"") + cbor_bytes(claim)


def _content(data: bytes, label: bytes) -> bytes:
    """The CBOR content of the superbox with a label."""
    start, end = _superbox(data, data.index(label))
    at = data.index(b"cbor", data.index(label, start), end)
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


def cbor_bytes(value: bytes) -> bytes:
    """A byte string in CBOR (RFC 8949), of up to 65,535 bytes."""
    size = len(value)
    head = (
        bytes([0x40 + size])
        if size < 24
        else b"\x58" + bytes([size])
        if size < 256
        else b"\x59" + size.to_bytes(2, "big")
    )
    return head + value


def cbor_read_bytes(data: bytes) -> bytes:
    """The byte string that some CBOR begins with, of up to 65,535 bytes. Raises ValueError where there is none."""
    first = data[0] - 0x40
    if 0 <= first < 24:
        return data[1 : 1 + first]
    if first in (24, 25):
        width = first - 23
        size = int.from_bytes(data[1 : 1 + width], "big")
        return data[1 + width : 1 + width + size]
    raise ValueError("no byte string is there")


def _superbox(data: bytes, within: int) -> tuple[int, int]:
    """Where the payload of the innermost superbox around a place begins and ends."""
    at = data.rfind(SUPERBOX, 0, within)
    length = int.from_bytes(data[at - 4 : at], "big") if at >= 4 else 0
    start, end = at + 4, at - 4 + length
    if at < 4 or not within < end <= len(data):
        raise ValueError("a salt stands in no superbox")
    return start, end


def _replaced(data: bytes, before: bytes, after: bytes) -> bytes:
    """With `before`, which must be there once and as long, replaced."""
    if data.count(before) != 1 or len(before) != len(after):
        raise ValueError(f"{len(before)} bytes that depend on a salt are there {data.count(before)} times, not once")
    return data.replace(before, after)


def _with_checksum(data: bytes) -> bytes:
    """A PNG's chunk of the manifest with its new CRC; other formats have none."""
    if not data.startswith(PNG):
        return data
    at = data.index(b"caBX")
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:end] + zlib.crc32(data[at:end]).to_bytes(4, "big") + data[end + 4 :]
