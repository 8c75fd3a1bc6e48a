"""What lists are asked of an image, packed: small enough to compare millions of stored images with new entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.base import Finding
from moderation.banks.index import Hashes
from moderation.banks.matcher import varied

DIGEST = 16
FRAME = 1 + 8 + 8 * 32
"""Bytes of a frame: flags, pHash, PDQ in eight orientations."""

PDQ, PHASH = 1, 2
"""Flags: which of a frame's hashes tell pictures apart, so that lists are asked for them."""

Owners = NDArray[np.int64]
Stored = Mapping[str, Any]


def pack(findings: Sequence[Stored]) -> bytes | None:
    """The MD5 and each frame's perceptual hashes, from findings as they are stored; None where signals were not taken."""
    ok = [f for f in findings if f["detector"] == "signals" and f["status"] == "ok"]
    md5 = next((bytes.fromhex(f["evidence"]["hash"]) for f in ok if f["label"] == "md5"), None)
    if md5 is None:
        return None
    frames = zip(
        (f["evidence"] for f in ok if f["label"] == "pdq"),
        (bytes.fromhex(f["evidence"]["hash"]) for f in ok if f["label"] == "phash"),
        strict=True,
    )
    return md5 + b"".join(_frame(pdq, phash) for pdq, phash in frames)


def pack_findings(findings: Sequence[Finding]) -> bytes | None:
    """`pack` of findings that were not stored yet."""
    return pack([finding.as_dict() for finding in findings if finding.detector == "signals"])


def _frame(pdq: Stored, phash: bytes) -> bytes:
    flags = PDQ * bool(pdq["hashable"]) | PHASH * varied(phash)
    return bytes((flags,)) + phash + bytes.fromhex("".join(pdq["orientations"]))


@dataclass(frozen=True, eq=False)
class Page:
    """The probes of many images: rows of hashes, and which image each is of (its number in the page).

    sha256s, md5s: of each image, None where unknown. pdq: uint8 (n, 32). phash: uint8 (m, 8).
    """

    sha256s: Sequence[bytes]
    md5s: Sequence[bytes | None]
    pdq: Hashes
    pdq_of: Owners
    phash: Hashes
    phash_of: Owners

    @classmethod
    def of(cls, sha256s: Sequence[str], packed: Sequence[bytes | None]) -> "Page":
        """From the SHA-256 in hex and the packed probes of each image."""
        body = np.frombuffer(b"".join(blob[DIGEST:] for blob in packed if blob), np.uint8).reshape(-1, FRAME)
        counts = [(len(blob) - DIGEST) // FRAME if blob else 0 for blob in packed]
        owners = np.repeat(np.arange(len(packed)), counts)
        pdq, phash = (body[:, 0] & PDQ) != 0, (body[:, 0] & PHASH) != 0
        return cls(
            [bytes.fromhex(text) for text in sha256s],
            [blob[:DIGEST] if blob else None for blob in packed],
            np.ascontiguousarray(body[pdq, 9:]).reshape(-1, 32),
            np.repeat(owners[pdq], 8),
            np.ascontiguousarray(body[phash, 1:9]),
            owners[phash],
        )

    def hashes(self, kind: str) -> tuple[Hashes, Owners]:
        return (self.pdq, self.pdq_of) if kind == "pdq" else (self.phash, self.phash_of)

    def digests(self, kind: str) -> Sequence[bytes | None]:
        return self.sha256s if kind == "sha256" else self.md5s
