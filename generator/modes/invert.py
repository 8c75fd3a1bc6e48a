"""DDIM inversion (Song et al., 2021): a real picture to the noise that makes it, and the picture made again from there."""

from dataclasses import asdict
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from generator.errors import ModelError
from generator.modes.base import Made
from generator.modes.diffusion import Request, fit
from generator.pipelines import Loaded


def invert(loaded: Loaded, picture: PIL.Image.Image, request: Request, *, parent: str = "") -> Made:
    """The picture inverted and regenerated under the request's prompt, both without guidance, by the same steps.

    Only for pipelines with a UNet, one text encoder and DDIM's noise schedule (Stable Diffusion 1 and 2). Raises
    ModelError for others.
    """
    pipeline = loaded.pipeline
    if type(pipeline).__name__ != "StableDiffusionPipeline":
        raise ModelError(
            f"{type(pipeline).__name__} cannot be inverted here", hint="use a Stable Diffusion 1.x or 2.x pipeline"
        )
    fitted = fit(picture, request)
    with torch.no_grad():
        embedding = pipeline.encode_prompt(request.prompt, pipeline.device, 1, False)[0]
        forward, back = _schedulers(pipeline.scheduler.config, request.steps)
        latents = _walk(pipeline, encode(pipeline, fitted), embedding, back)
        latents = _walk(pipeline, latents, embedding, forward)
        restored = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    pixels = ((restored[0].float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Made(PIL.Image.fromarray(pixels), "inverted", parameters=asdict(request), parent=parent)


def _schedulers(config: Any, steps: int) -> tuple[DDIMScheduler, DDIMInverseScheduler]:
    common = {"timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 0}
    forward = DDIMScheduler.from_config(config, **common)
    back = DDIMInverseScheduler.from_config(config, **common)
    forward.set_timesteps(steps)
    back.set_timesteps(steps)
    return forward, back


def encode(pipeline: Any, picture: PIL.Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = pixels.to(pipeline.device, pipeline.vae.dtype)
    latents: torch.Tensor = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    return latents


def _walk(pipeline: Any, latents: torch.Tensor, embedding: torch.Tensor, scheduler: Any) -> torch.Tensor:
    for time in scheduler.timesteps:
        predicted = pipeline.unet(latents, time, encoder_hidden_states=embedding).sample
        latents = scheduler.step(predicted, time, latents).prev_sample
    return latents
