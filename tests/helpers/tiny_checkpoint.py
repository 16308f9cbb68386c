"""A Stable Diffusion 2 checkpoint as small as the real WebUI loads one: random weights, 78 million parameters, 157 MB.

    python tests/helpers/tiny_checkpoint.py DIRECTORY

writes tiny-sd2.safetensors and tiny-sd2.yaml. The network is that of SD 2 with 32 channels instead of 320 and the text encoder of
open_clip's ViT-B-32; the .yaml beside the checkpoint says so to the WebUI. Names and shapes follow ``ldm``
(openaimodel.UNetModel, diffusionmodules.model, encoders.modules.FrozenOpenCLIPEmbedder). What it draws is noise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import yaml
from safetensors.numpy import save_file

CHANNELS, MULTIPLIERS, BLOCKS, CONTEXT = 32, (1, 2, 4, 4), 2, 512
ATTENTION = (1, 2, 4)  # downsampling factors at which the UNet attends to the text
LATENT = 4
TEXT_LAYERS, TEXT_TOKENS, VOCABULARY = 12, 77, 49408

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def config() -> dict[str, object]:
    """The model's description, as the WebUI reads it from a .yaml with the checkpoint's name."""
    common = {"ch": CHANNELS, "ch_mult": list(MULTIPLIERS), "num_res_blocks": BLOCKS, "attn_resolutions": []}
    vae = {"double_z": True, "z_channels": LATENT, "resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0}
    unet = {
        "use_checkpoint": False,
        "use_fp16": False,
        "image_size": 32,
        "in_channels": LATENT,
        "out_channels": LATENT,
        "model_channels": CHANNELS,
        "attention_resolutions": list(ATTENTION),
        "num_res_blocks": BLOCKS,
        "channel_mult": list(MULTIPLIERS),
        "num_head_channels": CHANNELS,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "transformer_depth": 1,
        "context_dim": CONTEXT,
        "legacy": False,
    }
    first_stage = {"embed_dim": LATENT, "ddconfig": {**vae, **common}, "lossconfig": {"target": "torch.nn.Identity"}}
    text = {"arch": "ViT-B-32", "freeze": True, "layer": "penultimate"}
    parameters = {
        "linear_start": 0.00085,
        "linear_end": 0.0120,
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": 1000,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 64,
        "channels": LATENT,
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "monitor": "val/loss_simple_ema",
        "scale_factor": 0.18215,
        "use_ema": False,
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": unet},
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": first_stage},
        "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder", "params": text},
    }
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": parameters}}


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Shapes:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    yield f"{name}.bias", (outputs,)


def norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


# --- UNet


def unet_shapes() -> Shapes:
    time = 4 * CHANNELS
    yield from linear("time_embed.0", CHANNELS, time)
    yield from linear("time_embed.2", time, time)
    yield from conv("input_blocks.0.0", LATENT, CHANNELS)
    skips, width, number, factor = [CHANNELS], CHANNELS, 1, 1
    for level, multiplier in enumerate(MULTIPLIERS):
        for _ in range(BLOCKS):
            yield from unet_block(f"input_blocks.{number}", width, multiplier * CHANNELS, factor)
            width, number = multiplier * CHANNELS, number + 1
            skips.append(width)
        if level < len(MULTIPLIERS) - 1:
            yield from conv(f"input_blocks.{number}.0.op", width, width)
            skips.append(width)
            number, factor = number + 1, factor * 2
    yield from residual("middle_block.0", width, width)
    yield from transformer("middle_block.1", width)
    yield from residual("middle_block.2", width, width)
    number = 0
    for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
        for block in range(BLOCKS + 1):
            yield from unet_block(f"output_blocks.{number}", width + skips.pop(), multiplier * CHANNELS, factor)
            width = multiplier * CHANNELS
            if level and block == BLOCKS:
                upsample = 2 if factor in ATTENTION else 1
                yield from conv(f"output_blocks.{number}.{upsample}.conv", width, width)
                factor //= 2
            number += 1
    yield from norm("out.0", width)
    yield from conv("out.2", width, LATENT)


def unet_block(name: str, inputs: int, outputs: int, factor: int) -> Shapes:
    yield from residual(f"{name}.0", inputs, outputs)
    if factor in ATTENTION:
        yield from transformer(f"{name}.1", outputs)


def residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from norm(f"{name}.in_layers.0", inputs)
    yield from conv(f"{name}.in_layers.2", inputs, outputs)
    yield from linear(f"{name}.emb_layers.1", 4 * CHANNELS, outputs)
    yield from norm(f"{name}.out_layers.0", outputs)
    yield from conv(f"{name}.out_layers.3", outputs, outputs)
    if inputs != outputs:
        yield from conv(f"{name}.skip_connection", inputs, outputs, 1)


def transformer(name: str, width: int) -> Shapes:
    yield from norm(f"{name}.norm", width)
    yield from linear(f"{name}.proj_in", width, width)
    block = f"{name}.transformer_blocks.0"
    for attention, context in (("attn1", width), ("attn2", CONTEXT)):
        yield from linear(f"{block}.{attention}.to_q", width, width, bias=False)
        yield from linear(f"{block}.{attention}.to_k", context, width, bias=False)
        yield from linear(f"{block}.{attention}.to_v", context, width, bias=False)
        yield from linear(f"{block}.{attention}.to_out.0", width, width)
    yield from linear(f"{block}.ff.net.0.proj", width, 8 * width)
    yield from linear(f"{block}.ff.net.2", 4 * width, width)
    for number in (1, 2, 3):
        yield from norm(f"{block}.norm{number}", width)
    yield from linear(f"{name}.proj_out", width, width)


# --- VAE


def vae_shapes() -> Shapes:
    widest = MULTIPLIERS[-1] * CHANNELS
    yield from conv("encoder.conv_in", 3, CHANNELS)
    width = CHANNELS
    for level, multiplier in enumerate(MULTIPLIERS):
        for block in range(BLOCKS):
            yield from vae_block(f"encoder.down.{level}.block.{block}", width, multiplier * CHANNELS)
            width = multiplier * CHANNELS
        if level < len(MULTIPLIERS) - 1:
            yield from conv(f"encoder.down.{level}.downsample.conv", width, width)
    yield from vae_middle("encoder.mid", widest)
    yield from norm("encoder.norm_out", widest)
    yield from conv("encoder.conv_out", widest, 2 * LATENT)
    yield from conv("decoder.conv_in", LATENT, widest)
    yield from vae_middle("decoder.mid", widest)
    width = widest
    for level, multiplier in reversed(list(enumerate(MULTIPLIERS))):
        for block in range(BLOCKS + 1):
            yield from vae_block(f"decoder.up.{level}.block.{block}", width, multiplier * CHANNELS)
            width = multiplier * CHANNELS
        if level:
            yield from conv(f"decoder.up.{level}.upsample.conv", width, width)
    yield from norm("decoder.norm_out", width)
    yield from conv("decoder.conv_out", width, 3)
    yield from conv("quant_conv", 2 * LATENT, 2 * LATENT, 1)
    yield from conv("post_quant_conv", LATENT, LATENT, 1)


def vae_block(name: str, inputs: int, outputs: int) -> Shapes:
    yield from norm(f"{name}.norm1", inputs)
    yield from conv(f"{name}.conv1", inputs, outputs)
    yield from norm(f"{name}.norm2", outputs)
    yield from conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from conv(f"{name}.nin_shortcut", inputs, outputs, 1)


def vae_middle(name: str, width: int) -> Shapes:
    yield from vae_block(f"{name}.block_1", width, width)
    yield from norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from conv(f"{name}.attn_1.{part}", width, width, 1)
    yield from vae_block(f"{name}.block_2", width, width)


# --- text encoder


def text_shapes() -> Shapes:
    yield "positional_embedding", (TEXT_TOKENS, CONTEXT)
    yield "text_projection", (CONTEXT, CONTEXT)
    yield "logit_scale", ()
    yield "token_embedding.weight", (VOCABULARY, CONTEXT)
    for number in range(TEXT_LAYERS):
        block = f"transformer.resblocks.{number}"
        yield from norm(f"{block}.ln_1", CONTEXT)
        yield f"{block}.attn.in_proj_weight", (3 * CONTEXT, CONTEXT)
        yield f"{block}.attn.in_proj_bias", (3 * CONTEXT,)
        yield from linear(f"{block}.attn.out_proj", CONTEXT, CONTEXT)
        yield from norm(f"{block}.ln_2", CONTEXT)
        yield from linear(f"{block}.mlp.c_fc", CONTEXT, 4 * CONTEXT)
        yield from linear(f"{block}.mlp.c_proj", 4 * CONTEXT, CONTEXT)
    yield from norm("ln_final", CONTEXT)


PARTS = {
    "model.diffusion_model": unet_shapes,
    "first_stage_model": vae_shapes,
    "cond_stage_model.model": text_shapes,
}


def tensors(seed: int) -> dict[str, numpy.ndarray]:
    """Name -> half-precision values that neither vanish nor grow from layer to layer; the same for the same ``seed``."""
    random = numpy.random.default_rng(seed)
    made = {}
    for prefix, shapes in PARTS.items():
        for name, shape in shapes():
            if len(shape) >= 2:
                values = random.standard_normal(shape, dtype=numpy.float32) / math.sqrt(math.prod(shape[1:]))
            else:
                values = numpy.full(shape, 0.0 if name.endswith("bias") else 1.0)
            made[f"{prefix}.{name}"] = values.astype(numpy.float16)
    return made


def make(directory: Path, name: str = "tiny-sd2", seed: int = 0) -> Path:
    """Write NAME.safetensors and NAME.yaml into ``directory``; returns the checkpoint's path."""
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint = directory / f"{name}.safetensors"
    save_file(tensors(seed), checkpoint)
    checkpoint.with_suffix(".yaml").write_text(yaml.safe_dump(config(), sort_keys=False))
    return checkpoint


def make_vae(directory: Path, name: str = "tiny-vae", seed: int = 1) -> Path:
    """Write a VAE of its own, NAME.safetensors, that fits the checkpoint."""
    prefix = "first_stage_model."
    directory.mkdir(parents=True, exist_ok=True)
    vae = directory / f"{name}.safetensors"
    save_file({key[len(prefix) :]: value for key, value in tensors(seed).items() if key.startswith(prefix)}, vae)
    return vae


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
