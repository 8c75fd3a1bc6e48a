"""From a committee to the files that are served: ONNX, card and calibration."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detectors.calibration import Calibration
from detectors.card import Card
from detectors.errors import ModelError
from detectors.runtime import bare_session
from detectors.training.corpus import Corpus
from detectors.training.features import BLOCKS, WIDTH
from detectors.training.figures import Array
from detectors.training.synthetic import Choice, Committee, Config

TOLERANCE = 1e-4
OPSET = 17


def graph(committee: Committee, slope: float, bias: float) -> bytes:
    """The ONNX graph: `blocks` float32 (batch, 12, 768) → `logit` (batch,) and `votes` (batch, heads). Deterministic."""
    folded = [head.folded() for head in committee.heads.values()]
    constants = {
        "index": np.array([block - 1 for block in committee.heads], dtype=np.int64),
        "weight": np.stack([weight for weight, _ in folded]).astype(np.float32),
        "offset": np.array([offset for _, offset in folded], dtype=np.float32),
        "last": np.array([2], dtype=np.int64),
        "slope": np.array(slope, dtype=np.float32),
        "bias": np.array(bias, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["blocks", "index"], ["tokens"], axis=1),
        helper.make_node("Mul", ["tokens", "weight"], ["products"]),
        helper.make_node("ReduceSum", ["products", "last"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "offset"], ["votes"]),
        helper.make_node("ReduceMean", ["votes"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logit"]),
    ]
    made = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info("blocks", TensorProto.FLOAT, ["batch", BLOCKS, WIDTH])],
        [
            helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("votes", TensorProto.FLOAT, ["batch", len(folded)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="palisade")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def check_export(served: bytes, committee: Committee, slope: float, bias: float, blocks: NDArray[np.float32]) -> float:
    """The largest difference between the graph's logits and NumPy's. Raises ModelError above 1e-4."""
    session = bare_session(served)
    (logits,) = session.run(["logit"], {"blocks": blocks})
    apart = float(np.abs(logits - (slope * committee(blocks) + bias)).max())
    if not apart <= TOLERANCE:
        raise ModelError(f"The exported graph differs from the trained heads by {apart:.2g}; {TOLERANCE:g} is allowed.")
    return apart


def write(
    folder: Path,
    corpus: Corpus,
    committee: Committee,
    scale: tuple[float, float],
    *,
    choice: Choice,
    config: Config,
    negatives: Array,
    figures: Mapping[str, Any],
    limits: tuple[str, ...],
) -> Card:
    """Check the export and write `synthetic.{onnx,card.json,calibration.json}`, the card last.

    negatives: probabilities of real images by models that saw nothing of their source.
    """
    served = graph(committee, *scale)
    apart = max(check_export(served, committee, *scale, features.blocks) for features in corpus.views.values())
    made = {
        "config": config.as_dict(),
        "choice": {key: value for key, value in asdict(choice).items() if key != "inside"},
        "seeds": "none drawn in the fit; views by their number, the bootstrap by 0",
        "data": corpus.data,
        "images": len(corpus.examples),
        "views": {str(view): int(features.present.sum()) for view, features in corpus.views.items()},
        "features": corpus.backbone,
        "code": version("palisade"),
        "export_difference": apart,
    }
    card = Card(
        "synthetic", hashlib.sha256(served).hexdigest(), corpus.model, config.prevalence, made, dict(figures), limits
    )
    source = f"{len(negatives)} views of real images ({', '.join(corpus.sources)}), each scored by a model that saw nothing of its source; shares below 0.02 are extrapolated"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "synthetic.onnx.part"
    part.write_bytes(served)
    part.replace(folder / "synthetic.onnx")
    Calibration.fit(negatives, model=card.identity, source=source).write(folder / "synthetic.calibration.json")
    card.write(folder)
    return card
