"""Loads text-to-image pipelines in the diffusers layout: local or pinned, safetensors only, offline unless told otherwise."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from generator.errors import ModelError

Offload = Literal["none", "model", "sequential"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
FETCHED = ("*.json", "*.txt", "*.safetensors", "*.model")


@dataclass(frozen=True)
class Adapter:
    """A LoRA (with its weight) or a textual inversion (with its token), in one safetensors file."""

    path: Path
    weight: float = 1.0
    token: str = ""


@dataclass(frozen=True)
class Options:
    """device: "auto" takes CUDA, then MPS, then the CPU. dtype: "auto" is float16 on an accelerator, else float32."""

    device: str = "auto"
    dtype: str = "auto"
    offload: Offload = "none"
    scheduler: str = ""
    loras: tuple[Adapter, ...] = ()
    inversions: tuple[Adapter, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A pipeline ready to run, and what was chosen for it. `digest`: SHA-256 over its files' names and contents."""

    pipeline: Any
    name: str
    digest: str
    device: str
    dtype: str
    offload: Offload
    scheduler: str
    adapters: tuple[str, ...] = field(default=())

    def report(self) -> str:
        """One line for people: what runs where."""
        extra = f", adapters {', '.join(self.adapters)}" if self.adapters else ""
        return (
            f"{type(self.pipeline).__name__} {self.name}@{self.digest[:12]} on {self.device} in {self.dtype}, "
            f"offload {self.offload}, {self.scheduler}{extra}"
        )


def load(source: str | Path, *, revision: str = "", network: bool = False, options: Options | None = None) -> Loaded:
    """The pipeline in a local folder, or of a hub id (`owner/name`) at a commit hash.

    network: may fetch what is not in the local cache; without it nothing leaves the machine. Raises ModelError when the
    source is missing, is not pinned, holds pickles, or cannot be loaded.
    """
    options = options or Options()
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch(str(source), revision, network=network)
    check_weights(folder)
    device, dtype = placement(options)
    pipeline = _from_folder(folder, DTYPES[dtype])
    if options.scheduler:
        set_scheduler(pipeline, options.scheduler)
    adapters = add_adapters(pipeline, options)
    place(pipeline, device, options.offload)
    pipeline.set_progress_bar_config(disable=True)
    parts = [folder, *(adapter.path for adapter in (*options.loras, *options.inversions))]
    scheduler = type(pipeline.scheduler).__name__
    name = folder.name if Path(source).is_dir() else str(source)
    return Loaded(pipeline, name, digest(parts), device, dtype, options.offload, scheduler, adapters)


def fetch(name: str, revision: str, *, network: bool) -> Path:
    """The local snapshot of a hub id at a commit hash, fetched only when `network` is set. Raises ModelError."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelError(f"there is no folder {name}", hint="name a local folder, or a hub id as owner/name")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ModelError(
            f"{name} is not pinned: revision {revision!r} is not a commit hash",
            hint="give the 40 hexadecimal digits of a commit; names of branches move",
        )
    try:
        path = snapshot_download(name, revision=revision, local_files_only=not network, allow_patterns=list(FETCHED))
    except LocalEntryNotFoundError as error:
        hint = "allow the network once, or copy the folder here" if not network else "check the connection"
        raise ModelError(f"{name}@{revision[:12]} is not in the local cache", hint=hint) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name}@{revision[:12]} could not be fetched: {error}", hint="check name and access"
        ) from error
    return Path(path)


def check_weights(folder: Path) -> None:
    """Raises ModelError unless every weight is a readable safetensors file: pickles run code when they are loaded."""
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} is not a diffusers pipeline: no model_index.json", hint="name the pipeline's folder"
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.suffix.lower() in PICKLES or looks_pickled(path):
            raise ModelError(
                f"{path} is a pickle; loading it could run any code", hint="convert it to safetensors and delete it"
            )
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise ModelError(
            f"{folder} holds no safetensors weights", hint="save the pipeline with safe_serialization=True"
        )
    for path in weights:
        check_safetensors(path)


def looks_pickled(path: Path) -> bool:
    """Whether a file begins as a pickle (protocol 2 to 5) or as the zip that torch wraps one in."""
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head == b"PK\x03\x04"


def check_safetensors(path: Path) -> None:
    """Raises ModelError unless the file is named, and can be opened, as safetensors."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(f"{path} is not a safetensors file", hint="weights are loaded from .safetensors only")
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}", hint="restore or convert it") from error


def _from_folder(folder: Path, dtype: torch.dtype) -> Any:
    choices: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, "local_files_only": True}
    try:
        return AutoPipelineForText2Image.from_pretrained(folder, **choices)
    except ValueError:  # a family that AutoPipeline does not list names its class in model_index.json
        try:
            return DiffusionPipeline.from_pretrained(folder, **choices)
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder} cannot be loaded: {error}", hint="save it anew with diffusers") from error
    except (OSError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}", hint="save it anew with diffusers") from error


def placement(options: Options) -> tuple[str, str]:
    """Device and dtype, chosen where they are "auto". Raises ModelError for what this machine does not have."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r} is not here", hint="use --device cpu, or a machine with CUDA")
    if options.offload != "none" and device == "cpu":
        raise ModelError("offload needs an accelerator to load to", hint="leave offload at none on the CPU")
    dtype = ("float32" if device == "cpu" else "float16") if options.dtype == "auto" else options.dtype
    if dtype not in DTYPES:
        raise ModelError(f"no dtype is called {dtype!r}", hint=f"use one of {', '.join(DTYPES)}")
    return device, dtype


def place(pipeline: Any, device: str, offload: Offload) -> None:
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)


def set_scheduler(pipeline: Any, name: str) -> None:
    """Swaps the scheduler for the diffusers class of that name. Raises ModelError when it does not fit the pipeline."""
    fitting = {kind.__name__ for kind in pipeline.scheduler.compatibles} | {type(pipeline.scheduler).__name__}
    if name not in fitting:
        raise ModelError(
            f"{name!r} does not fit {type(pipeline).__name__}", hint=f"use one of {', '.join(sorted(fitting))}"
        )
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)


def add_adapters(pipeline: Any, options: Options) -> tuple[str, ...]:
    """Loads LoRAs and textual inversions; their file names, in order. Raises ModelError when one does not fit."""
    for adapter in (*options.loras, *options.inversions):
        check_safetensors(adapter.path)
    names = [f"lora_{number}" for number in range(len(options.loras))]
    try:
        for name, adapter in zip(names, options.loras, strict=True):
            pipeline.load_lora_weights(
                str(adapter.path.parent), weight_name=adapter.path.name, adapter_name=name, local_files_only=True
            )
        if names:
            pipeline.set_adapters(names, [adapter.weight for adapter in options.loras])
        for adapter in options.inversions:
            pipeline.load_textual_inversion(str(adapter.path), token=adapter.token or None)
    except (ValueError, AttributeError, RuntimeError, KeyError, OSError) as error:
        raise ModelError(
            f"an adapter does not fit {type(pipeline).__name__}: {error}", hint="use one made for this base model"
        ) from error
    return tuple(adapter.path.name for adapter in (*options.loras, *options.inversions))


def digest(parts: Iterable[Path]) -> str:
    """SHA-256 over the relative names and contents of all weights and settings of folders and files, in order."""
    total = hashlib.sha256()
    for part in parts:
        files = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
        for path in files:
            if path.suffix == ".md":
                continue
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            name = path.relative_to(part).as_posix() if part.is_dir() else path.name
            total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()
