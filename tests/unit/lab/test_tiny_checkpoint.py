"""The tiny checkpoint for the real WebUI (tests/real) is a well-formed model that the collection accepts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.model_config import check_config
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.scan import scan_file
from helpers import tiny_checkpoint
from safetensors import safe_open


def test_the_checkpoint_and_its_config_are_accepted(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint.make(tmp_path)
    scan_file(str(checkpoint), checkpoint.name, allow_pickle=False)
    check_config(str(checkpoint.with_suffix(".yaml")))
    with safe_open(checkpoint, "numpy") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        last = opened.get_tensor("model.diffusion_model.out.2.weight")
    # as many tensors as the UNet and the VAE of every Stable Diffusion 1 and 2 have, and 12 layers of text encoder
    assert [sum(name.startswith(part) for name in shapes) for part in tiny_checkpoint.PARTS] == [686, 248, 150]
    assert sum(math.prod(shape) for shape in shapes.values()) == 78_404_076
    assert shapes["model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"] == (128, 512)
    assert last.dtype == numpy.float16 and numpy.isfinite(last).all() and last.std() > 0


def test_the_vae_fits_the_checkpoint_and_has_other_values(tmp_path: Path) -> None:
    vae = tiny_checkpoint.make_vae(tmp_path)
    scan_file(str(vae), vae.name, allow_pickle=False)
    prefix, own = "first_stage_model.", tiny_checkpoint.tensors(0)
    with safe_open(vae, "numpy") as opened:
        assert {prefix + name for name in opened.keys()} == {name for name in own if name.startswith(prefix)}  # noqa: SIM118
        assert not (opened.get_tensor("encoder.conv_in.weight") == own[prefix + "encoder.conv_in.weight"]).all()
