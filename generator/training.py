"""Trains the embedded latent diffusion model: the autoencoder first, then UNet and text encoder on its latents."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch.nn import functional

from generator import concepts
from generator.errors import TrainingError
from generator.loop import Loop, Say
from generator.model import (
    SIZE,
    assemble,
    encode_text,
    make_autoencoder,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
)
from generator.scenes import Picture

LATENTS = "latents.safetensors"


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train. Minutes bound one run of each half; a later run goes on from there."""

    autoencoder_steps: int = 6000
    diffusion_steps: int = 20_000
    autoencoder_minutes: float = 30.0
    diffusion_minutes: float = 120.0
    batch: int = 16
    latents: int = 6000
    drop_caption: float = 0.12
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("autoencoder_steps", "diffusion_steps", "batch", "latents"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; it must be at least 1")


def train(data: Path, work: Path, out: Path, plan: Plan, say: Say = print) -> None:
    """Train from the pictures under `data`, with checkpoints in `work`, and write the pipeline to `out`.

    Raises TrainingError when the data cannot be used or the loss is no longer finite.
    """
    examples = concepts.load(data)
    torch.manual_seed(plan.seed)
    vae = train_autoencoder(examples, work, plan, say)
    latents, captions = cached_latents(vae, examples, work, plan, say)
    scale = 1.0 / float(latents.std())
    vae.register_to_config(scaling_factor=scale)
    train_diffusion(vae, latents * scale, captions, work, out, plan, say)


def train_autoencoder(examples: list[concepts.Example], work: Path, plan: Plan, say: Say) -> AutoencoderKL:
    """Reconstruction at three scales (absolute error) with a slight pull of the latents towards a unit Gaussian.

    Where latents were kept already it stays as it is: they are this autoencoder's.
    """
    vae = make_autoencoder()
    loop = Loop("autoencoder", vae, work, plan.autoencoder_steps, 1.5e-3, minutes=plan.autoencoder_minutes)

    def loss(step: int) -> torch.Tensor:
        pictures = batch(examples, plan.batch, (plan.seed, 1, step))
        noise = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pictures).latent_dist
            restored = vae.decode(posterior.sample(noise)).sample
        restored, mean, variance = restored.float(), posterior.mean.float(), posterior.logvar.float()
        error = sum(
            functional.l1_loss(functional.avg_pool2d(restored, k), functional.avg_pool2d(pictures, k))
            for k in (1, 2, 4)
        )
        divergence = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean()
        return torch.as_tensor(error) + 1e-4 * divergence

    if (work / LATENTS).is_file():
        loop.resume()
    else:
        loop.run(loss, say)
    loop.use_mean()
    return vae.eval().requires_grad_(False)


def batch(examples: list[concepts.Example], size: int, seed: tuple[int, ...]) -> torch.Tensor:
    """`size` training pictures in [-1, 1], shape (size, 3, SIZE, SIZE)."""
    rng = np.random.default_rng(seed)
    return stacked([concepts.draw(examples, rng, SIZE)[0] for _ in range(size)])


def stacked(pictures: list[Picture]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() * 2 - 1


def cached_latents(
    vae: AutoencoderKL, examples: list[concepts.Example], work: Path, plan: Plan, say: Say
) -> tuple[torch.Tensor, list[str]]:
    """Latent means of `plan.latents` augmented pictures with a caption to learn, kept in `work` for a resumed run."""
    stored, listed = work / LATENTS, work / "captions.json"
    if stored.is_file() and listed.is_file():
        return load_file(stored)["latents"], json.loads(listed.read_text())
    taught = [example for example in examples if example.caption]
    rng, captions, chunks = np.random.default_rng((plan.seed, 2)), list[str](), list[torch.Tensor]()
    while len(captions) < plan.latents:
        drawn = [concepts.draw(taught, rng, SIZE) for _ in range(min(64, plan.latents - len(captions)))]
        with torch.no_grad():
            chunks.append(vae.encode(stacked([pixels for pixels, _ in drawn])).latent_dist.mean)
        captions += [caption for _, caption in drawn]
    latents = torch.cat(chunks).contiguous()
    save_file({"latents": latents}, stored.with_suffix(".part"))
    listed.write_text(json.dumps(captions))
    stored.with_suffix(".part").replace(stored)
    say(f"latents of {len(captions)} pictures kept")
    return latents, captions


def train_diffusion(  # noqa: PLR0917
    vae: AutoencoderKL, latents: torch.Tensor, captions: list[str], work: Path, out: Path, plan: Plan, say: Say
) -> None:
    """Velocity prediction (Salimans and Ho, 2022) with captions left out now and then, for guidance; then export."""
    tokenizer = make_tokenizer(concepts.WORDS, work / "tokenizer")
    encoder = make_text_encoder(tokenizer)
    unet, scheduler = make_unet(encoder.config.hidden_size), make_scheduler()
    both = torch.nn.ModuleDict({"unet": unet, "text_encoder": encoder})
    loop = Loop("diffusion", both, work, plan.diffusion_steps, 6e-4, minutes=plan.diffusion_minutes)

    def loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng((plan.seed, 3, step))
        chosen = rng.integers(len(captions), size=plan.batch)
        texts = ["" if rng.random() < plan.drop_caption else captions[i] for i in chosen]
        clean = latents[torch.from_numpy(chosen)]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        times = torch.from_numpy(rng.integers(scheduler.config["num_train_timesteps"], size=plan.batch))
        noisy, target = scheduler.add_noise(clean, noise, times), scheduler.get_velocity(clean, noise, times)
        predicted = unet(noisy, times, encode_text(tokenizer, encoder, texts)).sample
        return functional.mse_loss(predicted, target)

    loop.run(loss, say)
    loop.use_mean()
    parts = {"vae": vae, "unet": unet.eval(), "text_encoder": encoder.eval(), "tokenizer": tokenizer}
    assemble(parts).to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)
    say(f"pipeline written to {out}")
