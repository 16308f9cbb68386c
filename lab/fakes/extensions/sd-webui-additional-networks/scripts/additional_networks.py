"""sdops lab fake of additional-networks: finds the LoRA files of its own directory and notes those that are asked for."""

from __future__ import annotations

import os

from modules import scripts, shared

EXTENSION = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LORA_DIR = os.path.join(EXTENSION, "models", "lora")


def available():
    """Name -> path of the networks in models/lora."""
    os.makedirs(LORA_DIR, exist_ok=True)
    names = sorted(os.listdir(LORA_DIR))
    return {
        os.path.splitext(name)[0]: os.path.join(LORA_DIR, name)
        for name in names
        if name.endswith((".pt", ".ckpt", ".safetensors"))
    }


class AdditionalNetworks(scripts.Script):
    def title(self):
        return "Additional networks for generating"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, enabled=False, *names):
        """Arguments: a switch, then names of networks; they are noted in the infotext and have no other effect."""
        if not enabled:
            return
        known = available()
        chosen = [name for name in names if name in known][: shared.cmd_opts.addnet_max_model_count]
        p.extra_generation_params["AddNet Enabled"] = True
        for number, name in enumerate(chosen, 1):
            p.extra_generation_params[f"AddNet Module {number}"] = "LoRA"
            p.extra_generation_params[f"AddNet Model {number}"] = name


available()
