"""The image embedding: computed once for each image, read by every later head."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detectors.base import Detector, Field, Finding, Label
from detectors.image import Frame, Image
from detectors.runtime import Runtime

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


class EmbeddingDetector(Detector):
    """CLIP ViT-B/16's image tower (OpenAI, 2021).

    Leaves two features for later heads, both from one pass:
    `embedding`, float16 of shape (frames, 512): the projected embedding, not normalised, as it is stored;
    `blocks`, float32 of shape (frames, 12, 768): the class token after each transformer block.
    """

    name = "embedding"
    cost_ms = 210.0
    weights = ("clip_vit_b16",)
    provides = ("embedding", "blocks")
    labels = (
        Label(
            "embedding",
            "The picture was embedded, for the heads that read embeddings.",
            fields={"dimensions": Field("int", "Numbers in one embedding.")},
        ),
    )

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.session = runtime.session("clip_vit_b16")

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        for image in images:
            image.features["embedding"], image.features["blocks"] = self.embed(image.frames)
        return [[self.finding("embedding", evidence={"dimensions": 512})] for _ in images]

    def embed(self, frames: Sequence[Frame]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Embeddings, float16 (frames, 512), and class tokens of the blocks, float32 (frames, 12, 768)."""
        outputs = [self.session.run(["image_embeds", "blocks"], {"pixel_values": prepare(frame)}) for frame in frames]
        embeddings, blocks = zip(*outputs, strict=True)
        return np.concatenate(embeddings).astype(np.float16), np.concatenate(blocks)


def prepare(frame: Frame) -> NDArray[np.float32]:
    """CLIP's input, float32 of shape (1, 3, 224, 224): the centre square, bicubic, normalised."""
    side = min(frame.width, frame.height)
    left, top = (frame.width - side) / 2, (frame.height - side) / 2
    square = PIL.Image.fromarray(frame.pixels).resize(
        (SIDE, SIDE), PIL.Image.Resampling.BICUBIC, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    pixels = (np.asarray(square, dtype=np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
