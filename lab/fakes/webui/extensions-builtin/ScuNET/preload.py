"""Flag of the built-in ScuNET extension (sdops lab fake)."""

from __future__ import annotations

import os

from modules import paths


def preload(parser):
    parser.add_argument("--scunet-models-path", type=str, default=os.path.join(paths.models_path, "ScuNET"))
