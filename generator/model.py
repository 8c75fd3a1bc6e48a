"""The embedded default: a latent diffusion model small enough to ship, in the diffusers layout.

A `StableDiffusionPipeline` of 64 px: autoencoder 4× down with 4 latent channels, conditional UNet on 16×16 latents, and a
two-layer CLIP text encoder with a vocabulary of its own, trained along.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

EMBEDDED = Path(__file__).parent / "embedded"
SIZE = 64
TOKENS = 16
START, END = "<|startoftext|>", "<|endoftext|>"


def vocabulary(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-pair vocabulary in which each of the (lower-case) words is one token; others fall to parts of them."""
    trainer = BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        end_of_word_suffix="</w>",
        special_tokens=[START, END],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = Whitespace()
    learner.train_from_iterator(sorted(set(words)), trainer)
    learned = json.loads(learner.to_str())["model"]
    tokens = [*sorted(learned["vocab"], key=learned["vocab"].__getitem__), *(f"{a}</w>" for a in ByteLevel.alphabet())]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, [(a, b) for a, b in learned["merges"]]


def make_tokenizer(words: Iterable[str], folder: Path) -> CLIPTokenizer:
    """The tokenizer, written to and loaded from `folder` as vocab.json and merges.txt."""
    vocab, merges = vocabulary(words)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    tokenizer = CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        model_max_length=TOKENS,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_autoencoder() -> AutoencoderKL:
    """64 px RGB in [-1, 1] to 4×16×16 latents and back."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )


def make_unet(text_width: int) -> UNet2DConditionModel:
    """Predicts the velocity of 4×16×16 latents from the text encoder's last hidden states."""
    return UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers, 96 wide."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=96,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def make_scheduler() -> DDIMScheduler:
    """Linear betas: almost no signal is left at the last step, so plain grounds of any colour can be made."""
    return DDIMScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def encode_text(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, captions: list[str]) -> torch.Tensor:
    """Last hidden states, shape (captions, TOKENS, width), as `StableDiffusionPipeline` computes them."""
    ids = tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids
    states: torch.Tensor = encoder(ids)[0]
    return states


def assemble(parts: dict[str, Any]) -> StableDiffusionPipeline:
    """A pipeline of `vae`, `unet`, `text_encoder`, `tokenizer`. No safety checker: the guard checks what it makes."""
    return StableDiffusionPipeline(
        **parts, scheduler=make_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
