"""Flags of the built-in LoRA extension (sdops lab fake)."""

from __future__ import annotations

import os

from modules import paths
from modules.paths_internal import normalized_filepath


def preload(parser):
    for flag, directory in (("--lora-dir", "Lora"), ("--lyco-dir-backcompat", "LyCORIS")):
        parser.add_argument(flag, type=normalized_filepath, default=os.path.join(paths.models_path, directory))
