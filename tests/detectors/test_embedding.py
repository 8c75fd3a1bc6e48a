"""The image embedding, and the graph it comes from."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from detectors.embedding import EmbeddingDetector, prepare
from detectors.image import Frame
from detectors.runtime import Runtime
from tests.contract import DetectorContract
from tests.factories import make_image, picture


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


class TestEmbedding(DetectorContract):
    detector_class = EmbeddingDetector

    def test_features_have_the_stated_shapes(self, detector: EmbeddingDetector) -> None:
        image = make_image(picture(seed=1), picture(seed=2))

        detector.detect([image])

        assert image.features["embedding"].shape == (2, 512)
        assert image.features["embedding"].dtype == np.float16
        assert image.features["blocks"].shape == (2, 12, 768)

    def test_unlike_images_are_unlike_and_alike_ones_alike(self, detector: EmbeddingDetector, shared_data) -> None:
        """In the published int8 graph every pair looked alike (0.9 and more)."""
        from PIL import Image

        photos = sorted((shared_data / "images/real/imagenet").iterdir())[:12]
        frames = [Frame(0, np.asarray(Image.open(path).convert("RGB"))) for path in photos]
        smaller = [
            Frame(0, np.asarray(Image.fromarray(f.pixels).resize((f.width * 2 // 3, f.height * 2 // 3))))
            for f in frames
        ]
        embeddings, _ = detector.embed(frames)
        copies, _ = detector.embed(smaller)

        unlike = [cosine(embeddings[i], embeddings[j]) for i in range(12) for j in range(i)]
        alike = [cosine(a, b) for a, b in zip(embeddings, copies, strict=True)]
        assert np.median(unlike) < 0.65
        assert min(alike) > 0.93
        assert min(alike) > max(unlike)


@pytest.fixture(scope="module")
def float_session(runtime: Runtime) -> ort.InferenceSession:
    """The served graph with its 8-bit products turned back into float ones, and so without rounded activations."""
    model = onnx.load(runtime.verify("clip_vit_b16"))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            depth = next(a.i for a in node.attribute if a.name == "K")
            stored, scale = tensors[node.input[1]], tensors[node.input[2]]
            rows = (stored.astype(np.float32) - 128) * scale.reshape(stored.shape[:2])[:, :, None]
            weight = np.ascontiguousarray(rows.reshape(stored.shape[0], -1)[:, :depth].T)
            model.graph.initializer.append(numpy_helper.from_array(weight, node.output[0] + "_weight"))
            node.CopyFrom(
                onnx.helper.make_node("MatMul", [node.input[0], node.output[0] + "_weight"], list(node.output))
            )
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_served_graph_agrees_with_float(runtime: Runtime, float_session: ort.InferenceSession) -> None:
    served = runtime.session("clip_vit_b16")
    for seed in range(4):
        pixels = {"pixel_values": prepare(Frame(0, picture(seed=seed)))}
        (embedding, blocks), (exact, exact_blocks) = (
            s.run(["image_embeds", "blocks"], pixels) for s in (served, float_session)
        )

        assert cosine(embedding, exact) >= 0.99
        assert min(cosine(a, b) for a, b in zip(blocks[0], exact_blocks[0], strict=True)) >= 0.99
