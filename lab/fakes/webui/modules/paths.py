"""The paths that extensions import, and the cloned repositories on ``sys.path``."""

from __future__ import annotations

import os
import sys

from modules.paths_internal import (  # noqa: F401
    cwd,
    data_path,
    extensions_builtin_dir,
    extensions_dir,
    models_path,
    script_path,
)

REPOSITORIES = (
    ("stable-diffusion-stability-ai", "ldm/models/diffusion/ddpm.py", "Stable Diffusion"),
    ("generative-models", "sgm", "Stable Diffusion XL"),
    ("BLIP", "models/blip.py", "BLIP"),
    ("k-diffusion", "k_diffusion/sampling.py", "k_diffusion"),
)


def add_repositories() -> None:
    """Put the clones on ``sys.path``; without the first of them the program cannot start (AssertionError)."""
    places = [os.path.join(script_path, "repositories", name) for name, _, _ in REPOSITORIES]
    sd_path = places[0] if os.path.exists(os.path.join(places[0], REPOSITORIES[0][1])) else None
    assert sd_path is not None, f"Couldn't find Stable Diffusion in any of: {places[:1]}"
    for place, (_, probe, label) in zip(places, REPOSITORIES):
        if os.path.exists(os.path.join(place, probe)):
            sys.path.append(place)
        else:
            print(f"Warning: {label} not found at path {os.path.join(place, probe)}", file=sys.stderr)
