"""The real classes of four families at a tiny size, saved as a user would save them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from generator import model

WORDS = ["a", "red", "blue", "dress", "apple"]


def clip(kind: Any, vocabulary: int, width: int = 16) -> Any:
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=model.TOKENS,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return kind(config)


def autoencoder(latents: int = 4, shift: float | None = None) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=latents,
        norm_num_groups=4,
        sample_size=64,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


def t5_words() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in "abcdelprsu")]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=16)


def t5(words: Any) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=len(words), d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=1))


def stable_diffusion(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = model.make_tokenizer(WORDS, folder / "made")
    encoder = model.make_text_encoder(tokenizer)
    parts = {
        "vae": model.make_autoencoder(),
        "unet": model.make_unet(96),
        "text_encoder": encoder,
        "tokenizer": tokenizer,
    }
    model.assemble(parts).save_pretrained(folder / "sd")
    return folder / "sd"


def stable_diffusion_xl(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = model.make_tokenizer(WORDS, folder / "made")
    unet = UNet2DConditionModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=16 + 6 * 8,
        cross_attention_dim=32,
        norm_num_groups=4,
    )
    StableDiffusionXLPipeline(
        vae=autoencoder(),
        unet=unet,
        text_encoder=clip(CLIPTextModel, len(tokenizer)),
        text_encoder_2=clip(CLIPTextModelWithProjection, len(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=model.make_scheduler(),
        add_watermarker=False,
    ).save_pretrained(folder / "xl")
    return folder / "xl"


def stable_diffusion_3(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = model.make_tokenizer(WORDS, folder / "made")
    words = t5_words()
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        out_channels=4,
    )
    StableDiffusion3Pipeline(
        vae=autoencoder(shift=0.0),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(CLIPTextModelWithProjection, len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, len(tokenizer)),
        tokenizer_2=tokenizer,
        text_encoder_3=t5(words),
        tokenizer_3=words,
    ).save_pretrained(folder / "sd3")
    return folder / "sd3"


def flux(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = model.make_tokenizer(WORDS, folder / "made")
    words = t5_words()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    FluxPipeline(
        vae=autoencoder(latents=1, shift=0.0),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=clip(CLIPTextModel, len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=t5(words),
        tokenizer_2=words,
    ).save_pretrained(folder / "flux")
    return folder / "flux"
