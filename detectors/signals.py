"""Signals: digests and perceptual hashes by which an image that is already known is recognised."""

import hashlib
from collections.abc import Sequence

import imagehash
import numpy as np
import pdqhash
import PIL.Image
from numpy.typing import NDArray

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Frame, Image

PDQ_SIDE = 512
"""PDQ is hashed from a copy of at most this side: a sixth of the time at 1280 px, hashes 8 bits apart (radius is 31)."""

PDQ_QUALITY = 50
"""Below this quality a PDQ hash matches by chance: the authors' recommendation (PDQ, Facebook, 2019)."""

KINDS = ("sha256", "md5", "pdq", "phash")
"""Signals that banks hold."""

SIZES = {"sha256": 32, "md5": 16, "pdq": 32, "phash": 8}
"""Bytes of each."""

HASH = Field("string", "The hash, in lower-case hex.")


class SignalsDetector(Detector):
    """SHA-256, MD5, PDQ (with its eight orientations and quality), pHash and dHash.

    The digests are of the file's bytes; the perceptual hashes are of each sampled frame. A picture too plain
    for PDQ is `hashable: false` and keeps its hash as evidence. Leaves the feature `pdq`, uint8 (frames, 8, 32): the
    packed hashes of each frame's eight orientations, the upright one first; and `signals`, the findings.
    """

    name = "signals"
    cost_ms = 15.0
    provides = ("pdq", "signals")
    labels = (
        Label("sha256", "SHA-256 of the file.", fields={"hash": HASH}),
        Label("md5", "MD5 of the file, for lists that know no other digest.", fields={"hash": HASH}),
        Label(
            "pdq",
            "PDQ hash of the picture, 256 bits, match radius 31.",
            fields={
                "hash": HASH,
                "quality": Field("int", "0 to 100: how much the hash tells pictures apart."),
                "hashable": Field(
                    "bool", f"Whether the quality reaches {PDQ_QUALITY}, so that matches mean something."
                ),
            },
        ),
        Label("phash", "Perceptual hash of the picture (DCT), 64 bits.", fields={"hash": HASH}),
        Label("dhash", "Difference hash of the picture (gradients), 64 bits.", fields={"hash": HASH}),
    )

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        return [self._measure(image) for image in images]

    def _measure(self, image: Image) -> list[Finding]:
        md5 = hashlib.md5(image.data, usedforsecurity=False).hexdigest()
        findings = [
            self.finding("sha256", evidence={"hash": image.sha256}),
            self.finding("md5", evidence={"hash": md5}),
        ]
        orientations = []
        for frame in image.frames:
            number = frame.index if image.frame_count > 1 else None
            small = bounded(frame, PDQ_SIDE)
            hashes, quality = pdq_orientations(small)
            orientations.append(hashes)
            findings += self._frame(small, number, hashes, quality)
        image.features["pdq"] = np.stack(orientations)
        image.features["signals"] = findings
        return findings

    def _frame(
        self, small: PIL.Image.Image, number: int | None, hashes: NDArray[np.uint8], quality: int
    ) -> list[Finding]:
        pdq = {
            "hash": hashes[0].tobytes().hex(),
            "quality": quality,
            "hashable": quality >= PDQ_QUALITY,
            "orientations": [row.tobytes().hex() for row in hashes],
        }
        return [
            self.finding("pdq", frame=number, evidence=pdq),
            self.finding("phash", frame=number, evidence={"hash": str(imagehash.phash(small))}),
            self.finding("dhash", frame=number, evidence={"hash": str(imagehash.dhash(small))}),
        ]


def bounded(frame: Frame, side: int) -> PIL.Image.Image:
    """The frame as a Pillow image of at most `side` pixels a side, its shape kept."""
    picture = PIL.Image.fromarray(frame.pixels)
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)


def pdq_orientations(small: PIL.Image.Image) -> tuple[NDArray[np.uint8], int]:
    """PDQ hashes of the eight rotations and mirrorings, uint8 of shape (8, 32), the upright one first; and the quality.

    small: an RGB picture, bounded to `PDQ_SIDE`. Quality is 0 to 100. Source: PDQ reference implementation, through `pdqhash`.
    """
    vectors, quality = pdqhash.compute_dihedral(np.asarray(small))
    return np.packbits(np.stack(vectors).astype(np.uint8), axis=1), int(quality)
