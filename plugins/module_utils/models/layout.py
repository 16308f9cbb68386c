# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each kind of model lives below the WebUI's directory (AUTOMATIC1111 1.10.1)."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..errors import SdopsError
from ..safety.lookalikes import UNPACK

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")

# what a WebUI's directory or its data directory has: one of these is enough
MARKS = ("launch.py", "webui.py", "modules", "models", "embeddings", "extensions", ".sdops")


class LayoutError(SdopsError):
    """A file that does not belong where it is wanted."""


class Kind(NamedTuple):
    """Where a kind lies, and what the WebUI's loader of that kind lists there."""

    directory: str
    extensions: tuple[str, ...]
    any_case: bool = True  # whether it finds .PT as well as .pt
    unlisted: tuple[str, ...] = ()  # ends of names that it leaves out


# embeddings lie at the root and not below models
KINDS: dict[str, Kind] = {
    "checkpoint": Kind(
        "models/Stable-diffusion", (".safetensors", ".ckpt"), unlisted=(".vae.ckpt", ".vae.safetensors")
    ),
    "lora": Kind("models/Lora", (".safetensors", ".pt", ".ckpt")),
    "embedding": Kind("embeddings", (".safetensors", ".pt", ".bin", ".png", ".webp")),
    "vae": Kind("models/VAE", (".safetensors", ".pt", ".ckpt"), any_case=False),
    "hypernetwork": Kind("models/hypernetworks", (".pt",), any_case=False),
    "upscaler": Kind("models/ESRGAN", (".pth", ".pt")),
    "codeformer": Kind("models/Codeformer", (".pth",)),
    "gfpgan": Kind("models/GFPGAN", (".pth",)),
    "controlnet": Kind("models/ControlNet", (".safetensors", ".pth", ".pt", ".ckpt", ".bin")),
    "adetailer": Kind("models/adetailer", (".pt",)),
    "roop": Kind("models/roop", (".onnx",)),
    "insightface": Kind("models/insightface", (".onnx",)),
    "additional_networks_lora": Kind(
        "extensions/sd-webui-additional-networks/models/lora", (".safetensors", ".pt", ".ckpt")
    ),
}

# Civitai's model types
CIVITAI_KINDS = {
    "Checkpoint": "checkpoint",
    "LORA": "lora",
    "LoCon": "lora",
    "DoRA": "lora",
    "TextualInversion": "embedding",
    "VAE": "vae",
    "Hypernetwork": "hypernetwork",
    "Controlnet": "controlnet",
    "Upscaler": "upscaler",
}


def refuse_foreign_directory(webui_dir: str) -> None:
    """Raise LayoutError where ``webui_dir`` is no WebUI's: a typo in it must not be filled with models.

    An empty directory is taken: somebody has made it for this.
    """
    try:
        found = os.listdir(webui_dir)
    except FileNotFoundError:
        why = "does not exist"
    except OSError as exc:
        why = "cannot be read (%s)" % (exc.strerror or exc)
    else:
        if not found or any(mark in found for mark in MARKS):
            return
        why = "is not a WebUI's: it has none of {}".format(", ".join(MARKS[:-1]))
    raise LayoutError(
        f"The directory {webui_dir} {why}, so no models are put there. Correct webui_dir, install the WebUI first, or set create to true "
        "(model_fetch_create for the role model_fetch)."
    )


def path_of(webui_dir: str, kind: str, name: str) -> str:
    """Absolute path of a model. Raises LayoutError when the extension is not one the WebUI looks for there."""
    where = KINDS[kind]
    extension = os.path.splitext(name)[1]
    found = (extension.lower() if where.any_case else extension) in where.extensions
    if found and name.endswith(where.unlisted or ("/",)):
        raise LayoutError(
            "{} cannot be a {}: the WebUI leaves out names that end in {}. Set kind or name.".format(
                name, kind, " or ".join(where.unlisted)
            )
        )
    if extension.lower() in ARCHIVES:
        raise LayoutError(f"{name} is an archive and no {kind}: {UNPACK}, or take the link of the model itself.")
    if not found:
        raise LayoutError(
            "{} cannot be a {}: the WebUI looks for {} in {}. Set kind or name.".format(
                name, kind, ", ".join(where.extensions), where.directory
            )
        )
    return os.path.join(webui_dir, where.directory, name)


def sidecar(path: str, what: str, source_name: str) -> str:
    """Path of a checkpoint's sidecar: ``config`` is NAME.yaml, ``vae`` is NAME.vae.EXT, both beside it."""
    base = os.path.splitext(path)[0]
    if what == "config":
        return base + ".yaml"
    extension = os.path.splitext(source_name)[1].lower()
    if extension not in KINDS["vae"].extensions:
        raise LayoutError(
            "{} cannot be the VAE of {}: its extension must be one of {}.".format(
                source_name, os.path.basename(path), ", ".join(KINDS["vae"].extensions)
            )
        )
    return base + ".vae" + extension
