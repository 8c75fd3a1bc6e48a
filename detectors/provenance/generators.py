"""Which generator made a picture, by the metadata that it leaves: tool, prompt, model and seed where they are said.

One reader for each tool; the first that recognises its own marks wins. All of this can be written by hand, and is lost when a
host saves a picture anew: a mark says what the file claims, its absence says nothing.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detectors.provenance.graph import from_workflow, read_graph
from detectors.provenance.text import clean


@dataclass(frozen=True)
class Generator:
    """What metadata says of a generation; '' for what it does not say."""

    tool: str
    prompt: str = ""
    negative_prompt: str = ""
    model: str = ""
    seed: str = ""

    def cleaned(self) -> dict[str, str]:
        """The evidence, bounded and printable."""
        return {name: clean(value) for name, value in self.__dict__.items()}


@dataclass(frozen=True)
class Clues:
    """All that the readers look at: a file's keyed texts, EXIF tags and XMP properties, by name.

    comment: EXIF's UserComment, or a comment of the file. software: of EXIF, PNG or XMP.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    exif: Mapping[str, str] = field(default_factory=dict)
    xmp: Mapping[str, str] = field(default_factory=dict)
    _read: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def comment(self) -> str:
        return self.exif.get("UserComment") or self.texts.get("Comment") or self.xmp.get("UserComment", "")

    @property
    def software(self) -> str:
        return self.texts.get("Software") or self.exif.get("Software") or self.xmp.get("CreatorTool", "")

    @property
    def description(self) -> str:
        return self.texts.get("Description") or self.exif.get("ImageDescription") or self.xmp.get("description", "")

    @property
    def makers(self) -> str:
        """Where services put their names."""
        named = [self.software, self.exif.get("Make", ""), self.exif.get("Artist", ""), self.texts.get("Author", "")]
        return "\n".join(text[:500] for text in named + [self.xmp.get(name, "") for name in ("Credit", "creator")])

    def json(self, text: str) -> dict[str, Any]:
        """The JSON object of a text, {} when it is none; read once. Python's NaN is taken: ComfyUI writes it."""
        if text not in self._read:
            self._read[text] = load_object(text)
        return self._read[text]


def find_generator(clues: Clues) -> Generator | None:
    """The generator whose marks the metadata bears, or None."""
    for reader in READERS:
        found = reader(clues)
        if found:
            return found
    return None


def load_object(text: str) -> dict[str, Any]:
    if text.lstrip()[:1] != "{":
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _comfyui(clues: Clues) -> Generator | None:
    """Its graph of nodes, in PNG's texts or (for WebP) behind a word in EXIF's tags for the camera."""
    for text in (clues.texts.get("prompt", ""), _after(clues.exif.get("Make", ""), "prompt:")):
        graph = clues.json(text)
        if any(isinstance(node, dict) and "class_type" in node for node in graph.values()):
            return Generator("comfyui", *read_graph(graph))
    workflow = clues.json(clues.texts.get("workflow", "") or _after(clues.exif.get("Model", ""), "workflow:"))
    return Generator("comfyui", *read_graph(from_workflow(workflow))) if "nodes" in workflow else None


def _after(text: str, mark: str) -> str:
    return text.partition(mark)[2] if text.startswith(mark) else ""


def _novelai(clues: Clues) -> Generator | None:
    if clues.texts.get("Software") != "NovelAI":
        return None
    said = clues.json(clues.texts.get("Comment", ""))
    return Generator(
        "novelai",
        _text(said, "prompt") or clues.texts.get("Description", ""),
        _text(said, "uc"),
        clues.texts.get("Source", ""),
        _text(said, "seed"),
    )


def _invokeai(clues: Clues) -> Generator | None:
    said = clues.json(clues.texts.get("invokeai_metadata", ""))
    if said:
        model = said.get("model")
        name = model.get("name") or model.get("model_name") if isinstance(model, dict) else model
        return Generator(
            "invokeai",
            _text(said, "positive_prompt"),
            _text(said, "negative_prompt"),
            _plain(name),
            _text(said, "seed"),
        )
    said = clues.json(clues.texts.get("sd-metadata", ""))
    image = said.get("image")
    if isinstance(image, dict):
        prompt = image.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            prompt = prompt[0].get("prompt")
        return Generator("invokeai", _plain(prompt), "", _text(said, "model_weights"), _text(image, "seed"))
    dream = clues.texts.get("Dream", "")
    if dream:
        # The command of a prompt, in quotes or not, and its options.
        options = re.search(r"\s-\w", dream)
        prompt = dream[: options.start()] if options else dream
        seed = re.search(r"\s-S\s?(\d{1,20})", dream)
        return Generator("invokeai", prompt.strip().strip('"'), seed=seed.group(1) if seed else "")
    return Generator("invokeai") if "invokeai_graph" in clues.texts or "invokeai_workflow" in clues.texts else None


def _fooocus(clues: Clues) -> Generator | None:
    scheme = clues.texts.get("fooocus_scheme") or clues.exif.get("XPComment", "")
    for text in (clues.texts.get("parameters", ""), clues.comment):
        said = clues.json(text)
        if said and (scheme or str(said.get("version", "")).startswith("Fooocus") or "base_model_hash" in said):
            return Generator(
                "fooocus",
                _text(said, "prompt"),
                _text(said, "negative_prompt"),
                _text(said, "base_model"),
                _text(said, "seed"),
            )
    return None


def _swarmui(clues: Clues) -> Generator | None:
    for text in (clues.texts.get("parameters", ""), clues.comment):
        said = clues.json(text).get("sui_image_params")
        if isinstance(said, dict):
            return Generator(
                "swarmui",
                _text(said, "prompt"),
                _text(said, "negativeprompt"),
                _text(said, "model"),
                _text(said, "seed"),
            )
    return None


def _draw_things(clues: Clues) -> Generator | None:
    said = clues.json(clues.comment)
    if "Draw Things" not in clues.software and not {"c", "sampler", "steps"} <= set(said):
        return None
    return Generator("draw-things", _text(said, "c"), _text(said, "uc"), _text(said, "model"), _text(said, "seed"))


PARAMETERS = re.compile(r"(?:^|\n)Steps: \d{1,5}, ")


def _a1111(clues: Clues) -> Generator | None:
    """The text that AUTOMATIC1111's web UI and those after it write: prompt, negative prompt, a line of settings."""
    for text in (clues.texts.get("parameters", ""), clues.comment, clues.description):
        settings = PARAMETERS.search(text)
        if not settings:
            continue
        prompt, _, negative = text[: settings.start()].partition("Negative prompt:")
        line = text[settings.start() :]
        found = Generator("a1111", prompt.strip(), negative.strip(), _setting(line, "Model"), _setting(line, "Seed"))
        version = _setting(line, "Version")
        for mark, tool in (("Fooocus", "fooocus"), ("f", "forge"), ("ComfyUI", "comfyui"), ("InvokeAI", "invokeai")):
            if version.startswith(mark):
                return replace(found, tool=tool)
        return found
    return None


def _setting(line: str, name: str) -> str:
    found = re.search(rf"(?:^|, |\n){name}: (\"[^\"]{{0,500}}\"|[^,\n]{{0,500}})", line)
    return found.group(1).strip('"') if found else ""


JOB = re.compile(r"\bJob ID: ([0-9a-f-]{36})\b")


def _midjourney(clues: Clues) -> Generator | None:
    text = clues.description
    if not JOB.search(text) and "midjourney" not in clues.makers.lower():
        return None
    prompt = JOB.sub("", text).split(" --")[0]
    model = re.search(r"--(?:v|version|niji) ([\d.]{1,5})", text)
    seed = re.search(r"--seed (\d{1,20})", text)
    return Generator(
        "midjourney", prompt.strip(), "", f"v{model.group(1)}" if model else "", seed.group(1) if seed else ""
    )


SERVICES: Sequence[tuple[str, str]] = (
    (r"dall.?e\b|openai|chatgpt|gpt-image", "dalle"),
    (r"adobe firefly", "firefly"),
    (r"made with google ai|google (imagen|gemini)|\bimagen [2-9]", "google-ai"),
    (r"bing image creator|microsoft designer", "bing-image-creator"),
    (r"stable ?diffusion|stability ?ai|dreamstudio", "stable-diffusion"),
    (r"leonardo\.?ai", "leonardo"),
    (r"\bideogram", "ideogram"),
    (r"black forest labs|\bflux\.[12]\b", "flux"),
    (r"\bdiffusers\b", "diffusers"),
    (r"palisade generator", "palisade"),
)
_SERVICES = [(re.compile(pattern, re.IGNORECASE), tool) for pattern, tool in SERVICES]


def _service(clues: Clues) -> Generator | None:
    """Services that name themselves as the software, the credit or the maker, or in IPTC's properties for AI."""
    said, prompt = clues.xmp.get("AISystemUsed", ""), clues.xmp.get("AIPromptInformation", "")
    named = f"{clues.makers}\n{said[:500]}"
    tool = next((tool for pattern, tool in _SERVICES if pattern.search(named)), "other" if said or prompt else "")
    return Generator(tool, prompt, model=clues.xmp.get("AISystemVersionUsed", "") or said) if tool else None


def _text(values: Mapping[str, Any], name: str) -> str:
    return _plain(values.get(name))


def _plain(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


READERS: Sequence[Callable[[Clues], Generator | None]] = (
    _novelai,
    _invokeai,
    _fooocus,
    _swarmui,
    _draw_things,
    _a1111,
    _comfyui,
    _midjourney,
    _service,
)

OWN_METADATA = ("a1111", "forge", "comfyui", "invokeai", "novelai", "fooocus", "swarmui", "draw-things", "midjourney")
TOOLS = (*OWN_METADATA, *(tool for _, tool in SERVICES), "other")
"""Every tool that a reader names."""
