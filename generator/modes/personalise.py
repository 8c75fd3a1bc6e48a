"""Teaches a Stable Diffusion pipeline one identity with a LoRA, as a likeness attack does. Needs a recorded consent."""

import fcntl
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch.nn import functional

from generator.errors import ModelError, RecipeError, TrainingError
from generator.modes.base import opened
from generator.modes.diffusion import Request, fit
from generator.modes.invert import encode
from generator.pipelines import Loaded
from generator.recipes import Recipe

WEIGHTS = "pytorch_lora_weights.safetensors"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True)
class Consent:
    """Why this identity may be taught: an adult who consented in writing, or a face that no person has.

    note: where the written consent is kept, or how the synthetic face was made; at least ten characters.
    """

    subject: str
    basis: Literal["written-consent-of-an-adult", "synthetic-face"]
    note: str
    recorded: date

    def __post_init__(self) -> None:
        if self.basis not in ("written-consent-of-an-adult", "synthetic-face"):
            raise TrainingError(
                f"{self.basis!r} is no basis to teach an identity",
                hint="use written-consent-of-an-adult or synthetic-face",
            )
        if not self.subject.strip() or len(self.note.strip()) < 10:
            raise TrainingError(
                "the consent names no subject or has no note", hint="say who, and where the consent is kept"
            )


def learned(loaded: Loaded, files: Sequence[Path], recipe: Recipe, folder: Path) -> Path:
    """The LoRA of a recipe's identity in a folder, taught when it is not there yet.

    Processes that share the folder wait for the one that teaches. Raises RecipeError when the folder holds what was taught
    otherwise, TrainingError and ModelError as `personalise` does.
    """
    identity = recipe.identity
    if identity is None:
        raise RecipeError(f"mode {recipe.mode} has no identity", hint="add `identity:`")
    consent = Consent(identity.subject, identity.basis, identity.note, identity.recorded)
    seen = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
    taught = {
        "identity": identity.model_dump(mode="json"),
        "base": loaded.digest,
        "pictures": seen,
        "seed": recipe.seed,
    }
    record, size = folder / "taught.json", min(recipe.width, recipe.height)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if record.is_file():
            if json.loads(record.read_text()) != taught:
                raise RecipeError(
                    f"{folder} holds another identity, or one taught otherwise", hint="choose another --out"
                )
            return folder / WEIGHTS
        path = personalise(
            loaded, [opened(path) for path in files], consent, folder, token=identity.token, steps=identity.steps,
            rank=identity.rank, rate=identity.rate, size=size, seed=recipe.seed,
        )  # fmt: skip
        record.with_suffix(".part").write_text(json.dumps(taught, indent=2, ensure_ascii=False) + "\n")
        record.with_suffix(".part").replace(record)
    return path


def personalise(
    loaded: Loaded,
    pictures: Sequence[PIL.Image.Image],
    consent: Consent,
    out: Path,
    *,
    token: str = "sks",  # noqa: S107 - a word of the prompt
    steps: int = 200,
    rank: int = 4,
    rate: float = 1e-3,
    size: int = 64,
    seed: int = 0,
) -> Path:
    """A LoRA of "a photo of `token`" in `out`, with `consent.json` beside it; the pipeline itself is left as it was.

    Raises TrainingError without pictures or when the loss is not finite, ModelError for other families.
    """
    pipeline = loaded.pipeline
    if type(pipeline).__name__ != "StableDiffusionPipeline":
        raise ModelError(
            f"{type(pipeline).__name__} cannot be personalised here", hint="use Stable Diffusion 1.x or 2.x"
        )
    if not pictures:
        raise TrainingError("there is no picture of the identity", hint="give at least one")
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline.unet.requires_grad_(False)
        pipeline.unet.add_adapter(config, adapter_name="identity")
    try:
        _train(pipeline, pictures, f"a photo of {token}", steps, rate, size, seed)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet, adapter_name="identity"))
    finally:
        pipeline.unet.delete_adapters("identity")
    out.mkdir(parents=True, exist_ok=True)
    record = asdict(consent) | {"recorded": consent.recorded.isoformat(), "token": token, "base": loaded.digest}
    (out / "consent.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=layers, safe_serialization=True)
    return out / WEIGHTS


def _train(  # noqa: PLR0917
    pipeline: Any, pictures: Sequence[PIL.Image.Image], prompt: str, steps: int, rate: float, size: int, seed: int
) -> None:
    request = Request(prompt, width=size, height=size)
    with torch.no_grad():
        latents = torch.cat([encode(pipeline, fit(picture, request)) for picture in pictures])
        embedding = pipeline.encode_prompt(prompt, pipeline.device, 1, False)[0]
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW([p for p in pipeline.unet.parameters() if p.requires_grad], lr=rate)
    rng = np.random.default_rng((seed, 31))
    for step in range(steps):
        clean = latents[int(rng.integers(len(latents)))][None]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)).to(clean)
        time = torch.from_numpy(rng.integers(scheduler.config["num_train_timesteps"], size=1)).to(clean.device)
        velocity = scheduler.config["prediction_type"] == "v_prediction"
        target = scheduler.get_velocity(clean, noise, time) if velocity else noise
        predicted = pipeline.unet(scheduler.add_noise(clean, noise, time), time, encoder_hidden_states=embedding).sample
        loss = functional.mse_loss(predicted.float(), target.float())
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {step}", hint=f"lower the rate ({rate:g})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
