"""Searches what is hosted for copies of an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.takedowns.records import Copy
from moderation.takedowns.repository import Hosted

RADIUS = 31

SIMILAR = 0.93
"""Cosine of embeddings from which two pictures are shown to a person as perhaps the same: see docs/takedowns.md."""

MOST_SIMILAR = 100
"""Such pictures of one notice, the most alike first: a person has to look at each."""

EMBEDDING = 1_024
"""Bytes of a frame's: float16, 512 numbers."""

Hashes = NDArray[np.uint8]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What copies are recognised by: of all images of a notice.

    hashes: PDQ in eight orientations, uint8 (n, 32), none where the images are too plain. embeddings: float32 (m, 512),
    unit length, made by `model`.
    """

    sha256s: frozenset[str]
    hashes: Hashes
    embeddings: Vectors
    model: str


def copies(wanted: Wanted, hosted: Sequence[Hosted]) -> Iterator[Copy]:
    """The copies among hosted images, surest reason first: the same file, PDQ, the embedding."""
    nearest = nearest_hashes(wanted.hashes, [row[2] or b"" for row in hosted])
    alike = likenesses(wanted, hosted)
    for (image_id, sha256, _, _, _), distance, similarity in zip(hosted, nearest, alike, strict=True):
        shown = None if np.isnan(similarity) else round(float(similarity), 4)
        if sha256 in wanted.sha256s:
            yield Copy(image_id, sha256, "identical", 0, shown)
        elif distance <= RADIUS:
            yield Copy(image_id, sha256, "near", int(distance), shown)
        elif similarity >= SIMILAR:
            yield Copy(image_id, sha256, "similar", int(distance) if distance < 256 else None, shown)


def surest(found: Sequence[Copy]) -> list[Copy]:
    """All copies by hash, and the `MOST_SIMILAR` most alike by embedding."""
    similar = sorted((copy for copy in found if copy.stage == "similar"), key=lambda copy: -(copy.similarity or 0))
    return [copy for copy in found if copy.stage != "similar"] + similar[:MOST_SIMILAR]


def nearest_hashes(wanted: Hashes, hosted: Sequence[bytes]) -> NDArray[np.int64]:
    """For each hosted image the fewest bits between one of its frames and one of the wanted hashes; 256 where it has none."""
    frames = np.array([len(packed) // 32 for packed in hosted])
    nearest = np.full(len(hosted), 256, np.int64)
    if not len(wanted) or not frames.sum():
        return nearest
    rows = np.frombuffer(b"".join(hosted), np.uint8).reshape(-1, 32).view(np.uint64)
    apart = np.min([np.bitwise_count(rows ^ one).sum(axis=1, dtype=np.int64) for one in wanted.view(np.uint64)], axis=0)
    np.minimum.at(nearest, np.repeat(np.arange(len(hosted)), frames), apart)
    return nearest


def likenesses(wanted: Wanted, hosted: Sequence[Hosted]) -> Vectors:
    """For each hosted image the greatest cosine to a wanted embedding; NaN where they cannot be compared."""
    alike = np.full(len(hosted), np.nan, np.float32)
    rows = [i for i, (_, _, _, packed, model) in enumerate(hosted) if packed and model == wanted.model]
    if not rows or not len(wanted.embeddings):
        return alike
    packed = [hosted[i][3] or b"" for i in rows]
    starts = np.cumsum([0, *(len(blob) // EMBEDDING for blob in packed[:-1])])
    alike[rows] = np.maximum.reduceat((unit(b"".join(packed)) @ wanted.embeddings.T).max(axis=1), starts)
    return alike


def unit(packed: bytes) -> Vectors:
    """Embeddings float16 (n, 512) as float32 of unit length."""
    vectors = np.frombuffer(packed, np.float16).astype(np.float32).reshape(-1, 512)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
