"""Reads prompt, model and seed out of a ComfyUI graph: nodes that name each other as inputs."""

from collections import deque
from collections.abc import Mapping
from typing import Any

MOST_NODES = 5_000
MODEL_INPUTS = ("ckpt_name", "unet_name", "model_name", "diffusion_model")
SEED_INPUTS = ("seed", "noise_seed")
TEXT_INPUTS = ("text", "text_g", "clip_l", "t5xxl", "prompt", "string", "value")

Graph = Mapping[str, Any]


def read_graph(graph: Graph) -> tuple[str, str, str, str]:
    """Prompt, negative prompt, model and seed of a graph in ComfyUI's API format; '' for what is not found.

    The nodes with a `positive` input tell which texts condition the picture and which are to be avoided; a guider's
    `conditioning` counts as positive. Links are followed breadth first, each node once, so a cycle ends.
    """
    nodes = {str(key): node for key, node in list(graph.items())[:MOST_NODES] if isinstance(node, dict)}
    samplers = [node for node in nodes.values() if _inputs(node).keys() & {"positive", "conditioning", "cond1"}]
    positive = negative = ""
    for sampler in samplers:
        inputs = _inputs(sampler)
        for name in ("positive", "conditioning", "cond1"):
            positive = positive or _text_behind(nodes, inputs.get(name), "positive")
        negative = negative or _text_behind(nodes, inputs.get("negative"), "negative")
    return positive, negative, _first(nodes, MODEL_INPUTS, str), _first(nodes, SEED_INPUTS, int)


def _inputs(node: Mapping[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _text_behind(nodes: Mapping[str, Any], link: object, side: str) -> str:
    """The first text upstream of a link; where a node has both sides, only the asked one is followed."""
    waiting, seen = deque([link]), set[str]()
    while waiting:
        node = _target(nodes, waiting.popleft(), seen)
        if node is None:
            continue
        inputs = _inputs(node)
        for name in TEXT_INPUTS:
            if isinstance(inputs.get(name), str) and inputs[name].strip():
                return str(inputs[name])
        other = {"positive": "negative", "negative": "positive"}[side]
        waiting.extend(value for name, value in inputs.items() if isinstance(value, list) and name != other)
    return ""


def _target(nodes: Mapping[str, Any], link: object, seen: set[str]) -> Mapping[str, Any] | None:
    if not (isinstance(link, list) and link) or str(link[0]) in seen:
        return None
    seen.add(str(link[0]))
    return nodes.get(str(link[0]))


def _first(nodes: Mapping[str, Any], names: tuple[str, ...], kind: type) -> str:
    for node in nodes.values():
        for name in names:
            value = _inputs(node).get(name)
            if isinstance(value, kind) and not isinstance(value, bool):
                return str(value)
    return ""
