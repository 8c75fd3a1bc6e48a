"""What the embedding detector leaves for heads, of every view of every example: computed once, kept in a folder.

Heads are trained on exactly what a scan computes, by the served graph: the class tokens of CLIP's blocks and the final
embedding of one 224 px crop. Each view is one file, named by the picture's, the view's and the model's digests, so an
interrupted extraction goes on where it was.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.embedding import EmbeddingDetector
from detectors.image import Frame
from detectors.training.data import Example, View, decode, digest, render, silent

Progress = Callable[[int, int], None]
BLOCKS, WIDTH, EMBEDDED = 12, 768, 512


@dataclass(frozen=True)
class Features:
    """Of one view of many examples, in their order.

    blocks: float32 (n, 12, 768), class tokens after each block. embedding: float32 (n, 512), not normalised.
    present: which examples were seen in this view, (n,); the others' features are zero and must not be used.
    """

    blocks: NDArray[np.float32]
    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]


class FeatureCache:
    """Features of views in a folder. `version` of views is part of every name: raise it when `render` changes."""

    version = 1

    def __init__(self, folder: Path, detector: EmbeddingDetector) -> None:
        self.folder = folder
        self.detector = detector
        self.model = detector.runtime.identity("clip_vit_b16")
        self.prepared = hashlib.sha256(detector.runtime.verify("clip_vit_b16").read_bytes()).hexdigest()

    def features(
        self, examples: Sequence[Example], view: View, progress: Progress = silent, every: int = 1
    ) -> Features:
        """The features of every `every`-th example in a view, read or computed. `progress` hears of each."""
        blocks = np.zeros((len(examples), BLOCKS, WIDTH), dtype=np.float32)
        embedding = np.zeros((len(examples), EMBEDDED), dtype=np.float32)
        present = np.arange(len(examples)) % every == 0
        for number in range(0, len(examples), every):
            blocks[number], embedding[number] = self._of(examples[number], view)
            progress(number + 1, len(examples))
        return Features(blocks, embedding, present)

    def _of(self, example: Example, view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        key = digest(example.path)
        return self.of(f"{key}:{view}", lambda: render(decode(example.path), view, key))

    def of(self, name: str, make: Callable[[], Frame]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Class tokens (12, 768) and embedding (512,) of a frame that is made when they are not there by this name."""
        held = hashlib.sha256(f"{self.version}:{name}:{self.prepared}".encode()).hexdigest()
        path = self.folder / held[:2] / f"{held}.npz"
        if (found := _read(path)) is not None:
            return found
        embedding, blocks = self.detector.embed([make()])
        _write(path, blocks[0], embedding[0])
        return blocks[0].astype(np.float16).astype(np.float32), embedding[0].astype(np.float32)


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The features in a file; None when it is missing or damaged, so that they are computed again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            blocks, embedding = held["blocks"].astype(np.float32), held["embedding"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return (blocks, embedding) if blocks.shape == (BLOCKS, WIDTH) and embedding.shape == (EMBEDDED,) else None


def _write(path: Path, blocks: NDArray[np.float32], embedding: NDArray[np.float16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez(stream, blocks=blocks.astype(np.float16), embedding=embedding)
    part.replace(path)
