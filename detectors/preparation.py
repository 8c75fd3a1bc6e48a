"""Turns published ONNX files into graphs that ONNX Runtime loads and that compute in float.

Two kinds of quantised file come from the catalogue's sources:

* `fold`: weights stored as block-quantised integers behind `DequantizeLinear` nodes, which ONNX Runtime refuses
  (`block_size` on per-tensor nodes). Each becomes the float weight it stands for.
* `clip-tower`: int8 activations (`DynamicQuantizeLinear → MatMulInteger → Cast → Mul`). Each group becomes a
  float `MatMul` with `(W − zero) · scale` per channel: the activations' quantisation costs CLIP its meaning,
  the weights' does not. The float weights are then stored as 8-bit integers with a scale for every 128 of them, and
  the runtime rounds activations in the same small blocks (`MatMulNBits`): 1.7 times as fast as float and a quarter of
  its memory, at a cosine of 0.998 and more to it. The class token after each transformer block becomes a second
  output, `blocks`, so that heads may read any depth from the same pass.

The result depends on the input bytes only.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from detectors.errors import ModelError

PREPARATION = 2
"""Version of this module's output: raise it when a prepared file would differ."""

Preparation = Literal["as-is", "fold", "clip-tower"]


CLIP_BLOCKS = 12
QUANTISED_BLOCK = 128
_BLOCK_END = re.compile(r"/encoder/layers\.\d+/Add_1$")


def prepare(published: bytes, how: Preparation) -> bytes:
    """The graph to serve, made of a published ONNX file. Raises ModelError when it is not the expected kind."""
    if how == "as-is":
        return published
    try:
        model = onnx.load_from_string(published)
    except Exception as error:  # protobuf's DecodeError has no stable home between its versions
        raise ModelError(f"The file is not an ONNX model: {error}") from error
    _constants_to_initializers(model)
    _STEPS[how](model)
    _drop_unused(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _constants_to_initializers(model: ModelProto) -> None:
    """Make every tensor-valued `Constant` node an initializer, so that weights are found in one place."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        values = {attribute.name: attribute for attribute in node.attribute}
        if "value" not in values:
            continue
        tensor = values["value"].t
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)


def _fold_dequantize(model: ModelProto) -> None:
    """Replace each `DequantizeLinear` of constants by its float value, and drop weights from the inputs."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        if not all(name in weights for name in node.input):
            raise ModelError(f"Node {node.name or node.output[0]!r} dequantises an activation: use `clip-tower`.")
        quantised, scale, *zero = (numpy_helper.to_array(weights[name]) for name in node.input)
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        values = _dequantise(
            quantised, scale, zero[0] if zero else None, attributes.get("axis", 1), attributes.get("block_size", 0)
        )
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    names = {tensor.name for tensor in graph.initializer}
    for declared in [value for value in graph.input if value.name in names]:
        graph.input.remove(declared)


def _dequantise(
    quantised: NDArray[Any],
    scale: NDArray[np.float32],
    zero: NDArray[Any] | None,
    axis: int,
    block: int,
) -> NDArray[np.float32]:
    """`(quantised − zero) · scale` in float32, with `scale` and `zero` per tensor, per axis or per block of an axis.

    Follows DequantizeLinear-21 of the ONNX operator specification.
    """

    def spread(parameter: NDArray[Any]) -> NDArray[Any]:
        if parameter.size == 1:
            return parameter.reshape(())
        if block:
            repeated = np.repeat(parameter, block, axis=axis)
            return repeated.take(range(quantised.shape[axis]), axis=axis)
        return parameter.reshape([-1 if i == axis % quantised.ndim else 1 for i in range(quantised.ndim)])

    centred = quantised.astype(np.float32)
    if zero is not None:
        centred = centred - spread(zero).astype(np.float32)
    return np.asarray(centred * spread(scale), dtype=np.float32)


def _fold_dynamic(model: ModelProto) -> None:
    """Replace each dynamically quantised matrix product by a float `MatMul`."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    consumers = _consumers(graph.node)
    for product in [node for node in graph.node if node.op_type == "MatMulInteger"]:
        quantise = producer[product.input[0]]
        cast = _only(consumers[product.output[0]], "Cast")
        rescale = _only(consumers[cast.output[0]], "Mul")
        scales = producer[next(name for name in rescale.input if name != cast.output[0])]
        weight_scale = next(name for name in scales.input if name in weights)
        weight = _dequantise(
            numpy_helper.to_array(weights[product.input[1]]),
            numpy_helper.to_array(weights[weight_scale]),
            numpy_helper.to_array(weights[product.input[3]]),
            axis=-1,
            block=0,
        )
        name = product.input[1].removesuffix("_quantized") + "_float"
        graph.initializer.append(numpy_helper.from_array(weight, name))
        rescale.CopyFrom(
            onnx.helper.make_node("MatMul", [quantise.input[0], name], [rescale.output[0]], name=product.name)
        )


def _clip_tower(model: ModelProto) -> None:
    """The outputs `image_embeds` (batch, 512) and `blocks` (batch, 12, 768), block-wise 8-bit matrix products."""
    _fold_dynamic(model)
    _expose_class_tokens(model.graph)
    _quantise_products(model)


def _quantise_products(model: ModelProto) -> None:
    """Turn each product with constant weights into `MatMulNBits`: 8 bits, symmetric, int8 activations (level 4).

    Source: ONNX Runtime's contributed operators, com.microsoft.MatMulNBits-1.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]:
        name = node.input[1]
        weight = numpy_helper.to_array(weights[name])
        depth, width = weight.shape
        blocks = -(-depth // QUANTISED_BLOCK)
        padded = np.zeros((blocks * QUANTISED_BLOCK, width), dtype=np.float32)
        padded[:depth] = weight
        rows = padded.T.reshape(width, blocks, QUANTISED_BLOCK)
        scale = np.maximum(np.abs(rows).max(axis=2), np.finfo(np.float32).tiny) / 127
        stored = np.clip(np.rint(rows / scale[:, :, None]) + 128, 0, 255).astype(np.uint8)
        graph.initializer.append(numpy_helper.from_array(stored, f"{name}_8bit"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32).reshape(-1), f"{name}_scale"))
        node.CopyFrom(
            onnx.helper.make_node(
                "MatMulNBits",
                [node.input[0], f"{name}_8bit", f"{name}_scale"],
                list(node.output),
                name=node.name,
                domain="com.microsoft",
                K=depth,
                N=width,
                bits=8,
                block_size=QUANTISED_BLOCK,
                accuracy_level=4,
            )
        )
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def _expose_class_tokens(graph: GraphProto) -> None:
    """Replace the outputs by `image_embeds` and `blocks`, the class tokens after every transformer block."""
    ends = [node.output[0] for node in graph.node if _BLOCK_END.search(node.name)]
    if len(ends) != CLIP_BLOCKS:
        raise ModelError(f"Expected the ends of {CLIP_BLOCKS} transformer blocks in the CLIP graph, found {len(ends)}.")
    graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "class_token_index"))
    tokens = [f"block_{number}_class_token" for number in range(len(ends))]
    for end, token in zip(ends, tokens, strict=True):
        graph.node.append(onnx.helper.make_node("Gather", [end, "class_token_index"], [token], axis=1))
    graph.node.append(onnx.helper.make_node("Concat", tokens, ["blocks"], axis=1))
    for output in [output for output in graph.output if output.name != "image_embeds"]:
        graph.output.remove(output)
    shape = ["batch", CLIP_BLOCKS, 768]
    graph.output.append(onnx.helper.make_tensor_value_info("blocks", onnx.TensorProto.FLOAT, shape))


def _consumers(nodes: Iterable[NodeProto]) -> dict[str, list[NodeProto]]:
    consumers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    return consumers


def _only(nodes: list[NodeProto], op_type: str) -> NodeProto:
    if len(nodes) != 1 or nodes[0].op_type != op_type:
        found = ", ".join(node.op_type for node in nodes)
        raise ModelError(f"Expected one {op_type} after a quantised product, found {found or 'nothing'}.")
    return nodes[0]


def _drop_unused(model: ModelProto) -> None:
    """Remove the nodes, weights and inputs that no output depends on."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    for declared in [value for value in graph.input if value.name not in needed]:
        graph.input.remove(declared)


_STEPS: dict[str, Callable[[ModelProto], None]] = {"fold": _fold_dequantize, "clip-tower": _clip_tower}
