"""A model goes only where the WebUI lists it: the loaders of AUTOMATIC1111 1.10.1, by kind."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import LayoutError
from ansible_collections.sdops.webui.plugins.module_utils.models.layout import model_path


@pytest.mark.parametrize(
    ("kind", "name", "listed"),
    [
        ("hypernetwork", "x.pt", True),
        ("hypernetwork", "x.safetensors", False),  # modules/hypernetworks/hypernetwork.py: **/*.pt
        ("hypernetwork", "x.PT", False),
        ("upscaler", "x.pth", True),
        ("upscaler", "x.PTH", True),
        ("upscaler", "x.pt", True),
        ("upscaler", "x.safetensors", False),  # modules/esrgan_model.py
        ("vae", "x.safetensors", True),
        ("vae", "x.SAFETENSORS", False),  # modules/sd_vae.py: **/*.safetensors
        ("checkpoint", "x.safetensors", True),
        ("checkpoint", "x.vae.safetensors", False),  # modules/sd_models.py: ext_blacklist
        ("checkpoint", "x.vae.ckpt", False),
        ("codeformer", "x.pth", True),
        ("codeformer", "x.pt", False),
        ("lora", "x.CKPT", True),
    ],
)
def test_what_the_webui_lists(kind, name, listed):
    if listed:
        assert model_path("/webui", kind, name).endswith("/" + name)
        return
    with pytest.raises(LayoutError, match="cannot be a .*Set kind or name"):
        model_path("/webui", kind, name)
