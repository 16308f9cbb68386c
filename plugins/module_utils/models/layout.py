# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each kind of model lives below the WebUI's directory (AUTOMATIC1111 1.10.1)."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

from ..content_scan.file_formats import UNPACK_ADVICE
from ..errors import LayoutError

ARCHIVE_EXTENSIONS = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")

# what a WebUI's directory or its data directory has: one of these is enough
WEBUI_DIRECTORY_MARKERS = ("launch.py", "webui.py", "modules", "models", "embeddings", "extensions", ".sdops")


class KindLayout(NamedTuple):
    """Where a kind lies, and what the WebUI's loader of that kind lists there."""

    directory: str
    extensions: tuple[str, ...]
    any_case: bool = True  # whether it finds .PT as well as .pt
    hidden_suffixes: tuple[str, ...] = ()  # ends of names that it leaves out


# embeddings lie at the root and not below models
MODEL_KINDS: dict[str, KindLayout] = {
    "checkpoint": KindLayout(
        "models/Stable-diffusion", (".safetensors", ".ckpt"), hidden_suffixes=(".vae.ckpt", ".vae.safetensors")
    ),
    "lora": KindLayout("models/Lora", (".safetensors", ".pt", ".ckpt")),
    "embedding": KindLayout("embeddings", (".safetensors", ".pt", ".bin", ".png", ".webp")),
    "vae": KindLayout("models/VAE", (".safetensors", ".pt", ".ckpt"), any_case=False),
    "hypernetwork": KindLayout("models/hypernetworks", (".pt",), any_case=False),
    "upscaler": KindLayout("models/ESRGAN", (".pth", ".pt")),
    "codeformer": KindLayout("models/Codeformer", (".pth",)),
    "gfpgan": KindLayout("models/GFPGAN", (".pth",)),
    "controlnet": KindLayout("models/ControlNet", (".safetensors", ".pth", ".pt", ".ckpt", ".bin")),
    "adetailer": KindLayout("models/adetailer", (".pt",)),
    "roop": KindLayout("models/roop", (".onnx",)),
    "insightface": KindLayout("models/insightface", (".onnx",)),
    "additional_networks_lora": KindLayout(
        "extensions/sd-webui-additional-networks/models/lora", (".safetensors", ".pt", ".ckpt")
    ),
}


def reject_unmanaged_directory(webui_dir: str) -> None:
    """Raise LayoutError where ``webui_dir`` is no WebUI's: a typo in it must not be filled with models.

    An empty directory is taken: somebody has made it for this.
    """
    try:
        found = os.listdir(webui_dir)
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as exc:
        problem = "cannot be read (%s)" % (exc.strerror or exc)
    else:
        if not found or any(mark in found for mark in WEBUI_DIRECTORY_MARKERS):
            return
        problem = "is not a WebUI's: it has none of {}".format(", ".join(WEBUI_DIRECTORY_MARKERS[:-1]))
    raise LayoutError(
        f"The directory {webui_dir} {problem}, so no models are put there. Correct webui_dir, install the WebUI first, or set create to true "
        "(model_fetch_create for the role model_fetch)."
    )


def find_models(webui_dir: str, kind: str) -> Iterator[str]:
    """Absolute paths of the models of a kind that the WebUI lists, whoever has put them there; links to directories are followed."""
    layout = MODEL_KINDS[kind]
    seen = set()
    for directory, directories, files in os.walk(os.path.join(webui_dir, layout.directory), followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:  # a link to a directory above it
            directories.clear()
            continue
        seen.add(real)
        for name in files:
            comparable = name.lower() if layout.any_case else name
            if comparable.endswith(layout.extensions) and not name.startswith("."):
                if not comparable.endswith(layout.hidden_suffixes or ("/",)):
                    yield os.path.join(directory, name)


def model_path(webui_dir: str, kind: str, name: str) -> str:
    """Absolute path of a model. Raises LayoutError when the extension is not one the WebUI looks for there."""
    layout = MODEL_KINDS[kind]
    extension = os.path.splitext(name)[1]
    found = (extension.lower() if layout.any_case else extension) in layout.extensions
    if found and name.endswith(layout.hidden_suffixes or ("/",)):
        raise LayoutError(
            "{} cannot be a {}: the WebUI leaves out names that end in {}. Set kind or name.".format(
                name, kind, " or ".join(layout.hidden_suffixes)
            )
        )
    if extension.lower() in ARCHIVE_EXTENSIONS:
        raise LayoutError(f"{name} is an archive and no {kind}: {UNPACK_ADVICE}, or take the link of the model itself.")
    if not found:
        raise LayoutError(
            "{} cannot be a {}: the WebUI looks for {} in {}. Set kind or name.".format(
                name, kind, ", ".join(layout.extensions), layout.directory
            )
        )
    return os.path.join(webui_dir, layout.directory, name)


def sidecar_path(path: str, sidecar: str, source_name: str) -> str:
    """Path of a checkpoint's sidecar: ``config`` is NAME.yaml, ``vae`` is NAME.vae.EXT, both beside it."""
    base = os.path.splitext(path)[0]
    if sidecar == "config":
        return base + ".yaml"
    extension = os.path.splitext(source_name)[1].lower()
    if extension not in MODEL_KINDS["vae"].extensions:
        raise LayoutError(
            "{} cannot be the VAE of {}: its extension must be one of {}.".format(
                source_name, os.path.basename(path), ", ".join(MODEL_KINDS["vae"].extensions)
            )
        )
    return base + ".vae" + extension
