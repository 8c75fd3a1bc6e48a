"""Reads prompt, model and seed out of a ComfyUI graph: nodes that name each other as inputs.

The nodes with a `positive` input tell which texts condition the picture and which are to be avoided; a guider's
`conditioning` counts as positive. From them the links are followed upstream, breadth first, each node once: a cycle ends,
and the whole costs no more than the graph is large.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

MOST_NODES = 5_000
MOST_INPUTS = 200
POSITIVE = ("positive", "conditioning", "cond1")
NEGATIVE = ("negative",)
TEXTS = ("text", "text_g", "t5xxl", "clip_l", "prompt", "string", "string_a", "text1", "value")
CHECKPOINTS = ("ckpt_name", "unet_name", "diffusion_model", "base_ckpt_name")
MODELS = (*CHECKPOINTS, "model_name")
"""Upscalers have a `model_name` too: it counts only behind a sampler's model."""
SEEDS = ("seed", "noise_seed")
NUMBERS = (*SEEDS, "value", "int")

WIDGETS: Mapping[str, Sequence[str]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "ImageOnlyCheckpointLoader": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "UnetLoaderGGUF": ("unet_name",),
    "KSampler": ("seed",),
    "KSamplerAdvanced": ("add_noise", "noise_seed"),
    "SamplerCustom": ("add_noise", "noise_seed"),
    "RandomNoise": ("noise_seed",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
}
"""The first widgets of ComfyUI's own nodes: a workflow stores their values without names."""

Inputs = Mapping[str, Any]
Nodes = Mapping[str, Inputs]
Take = Callable[[Inputs], str]


def read_graph(graph: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Prompt, negative prompt, model and seed of a graph in ComfyUI's API format; '' for what is not found."""
    nodes = {str(key): _inputs(node) for key, node in list(graph.items())[:MOST_NODES] if isinstance(node, dict)}
    samplers = [inputs for inputs in nodes.values() if any(name in inputs for name in POSITIVE)]
    return (
        _first(samplers, _strings(POSITIVE)) or _text(nodes, samplers, POSITIVE, "positive", avoid="negative"),
        _first(samplers, _strings(NEGATIVE)) or _text(nodes, samplers, NEGATIVE, "negative", avoid="positive"),
        _first(_upstream(nodes, samplers, ("model",)), _strings(MODELS))
        or _first(nodes.values(), _strings(CHECKPOINTS)),
        _first(samplers, _numbers(SEEDS))
        or _first(_upstream(nodes, samplers, SEEDS), _numbers(NUMBERS))
        or _first(nodes.values(), _numbers(SEEDS)),
    )


def from_workflow(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """A workflow, as ComfyUI's editor saves it, in API format. Values of nodes that are not known stay out."""
    links = {
        str(link[0]): [str(link[1]), link[2]]
        for link in _list(workflow.get("links"))
        if isinstance(link, list) and len(link) >= 3
    }
    return {
        str(node.get("id")): {"class_type": str(node.get("type")), "inputs": _workflow_inputs(node, links)}
        for node in _list(workflow.get("nodes"))[:MOST_NODES]
        if isinstance(node, dict)
    }


def _workflow_inputs(node: Mapping[str, Any], links: Mapping[str, list[Any]]) -> dict[str, Any]:
    values = node.get("widgets_values")
    if isinstance(values, dict):
        inputs = dict(values)
    else:
        inputs = dict(zip(WIDGETS.get(str(node.get("type")), ()), _list(values), strict=False))
    for given in _list(node.get("inputs")):
        if isinstance(given, dict) and str(given.get("link")) in links:
            inputs[str(given.get("name"))] = links[str(given.get("link"))]
    return inputs


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _inputs(node: Mapping[str, Any]) -> Inputs:
    inputs = node.get("inputs")
    return dict(list(inputs.items())[:MOST_INPUTS]) if isinstance(inputs, dict) else {}


def _text(nodes: Nodes, samplers: Sequence[Inputs], names: Sequence[str], side: str, *, avoid: str) -> str:
    """The nearest text behind the samplers' inputs; of nodes that hold or pass on both prompts, that of one side."""
    return _first(_upstream(nodes, samplers, names, avoid), _strings((side, *TEXTS)))


def _upstream(nodes: Nodes, samplers: Sequence[Inputs], names: Sequence[str], avoid: str = "") -> Iterator[Inputs]:
    """The nodes behind inputs of the samplers, nearest first, each once; inputs called `avoid` are not followed."""
    seen = set[str]()
    for link in (sampler.get(name) for name in names for sampler in samplers):
        waiting = deque([link])
        while waiting:
            target = waiting.popleft()
            if not (isinstance(target, list) and target) or str(target[0]) in seen:
                continue
            seen.add(str(target[0]))
            inputs = nodes.get(str(target[0]), {})
            yield inputs
            waiting.extend(value for name, value in inputs.items() if isinstance(value, list) and name != avoid)


def _first(nodes: Iterable[Inputs], take: Take) -> str:
    return next((found for inputs in nodes if (found := take(inputs))), "")


def _strings(names: Sequence[str]) -> Take:
    """Takes the first of a node's inputs of these names that is a text."""
    return lambda inputs: next((v for n in names if isinstance(v := inputs.get(n), str) and v.strip()), "")


def _numbers(names: Sequence[str]) -> Take:
    """Takes the first of a node's inputs of these names that is a whole number."""
    return lambda inputs: next((str(v) for n in names if type(v := inputs.get(n)) is int), "")
