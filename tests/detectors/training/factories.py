"""Stand-ins for face crops: smooth random pictures, different for each person and crop."""

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from detectors.catalogue import CatalogueEntry
from detectors.preparation import PREPARATION
from detectors.runtime import Prepared, Runtime, file_sha256
from detectors.training.swap_data import FaceCrop


def crop(seed: int) -> np.ndarray:
    """A picture of coarse shapes and fine grain, RGB uint8 (112, 112, 3)."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(30, 220, (7, 7, 3)).astype(np.float32), (112, 112), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 6, (112, 112, 3)), 0, 255).astype(np.uint8)


def people(number: int = 4, each: int = 3) -> list[FaceCrop]:
    return [
        FaceCrop(crop(100 * person + one), f"person_{person}", f"person_{person}/{one}.png")
        for person in range(number)
        for one in range(each)
    ]


def write_people(folder: Path, faces: list[FaceCrop]) -> None:
    for face in faces:
        path = folder / face.name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.ascontiguousarray(face.pixels[:, :, ::-1]))


def tiny_clip(folder: Path) -> Runtime:
    """A runtime whose `clip_vit_b16` is a real graph of the same form: every block's token is the picture, 16 × 16."""
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["small"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Reshape", ["small", "one"], ["token"]),
        helper.make_node("Tile", ["token", "twelve"], ["blocks"]),
        helper.make_node("Reshape", ["small", "flat"], ["row"]),
        helper.make_node("Slice", ["row", "start", "end", "axis"], ["image_embeds"]),
    ]
    shapes = {"one": [1, 1, 768], "twelve": [1, 12, 1], "flat": [1, 768], "start": [0], "end": [512], "axis": [1]}
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("image_embeds", "blocks")],
        [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()],
    )
    path = folder / "clip.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    Prepared("0" * 64, PREPARATION, file_sha256(path)).write(path)
    values = {"title": "tiny", "file": path.name, "sha256": "0" * 64, "bytes": 1, "licence": "MIT", "prepared": "as-is"}
    sources = [{"wheel": "a", "version": "1", "member": "a/clip.onnx"}]
    return Runtime(folder, entries={"clip_vit_b16": CatalogueEntry.model_validate({**values, "sources": sources})})
