"""sdops lab fake of xformers 0.0.23.post1 (not the real package): reports whether it would fit, speeds up nothing."""

from __future__ import annotations

import json
from pathlib import Path

__fake__ = True
__version__ = "0.0.23.post1"
BUILT_FOR_TORCH = "2.1.2+cu121"
BUILT_FOR_CUDA = 1201
BUILT_FOR = ("7.0", "7.5", "8.0", "8.6", "9.0")


def capabilities() -> tuple[str, ...]:
    """Compute capabilities that it has code for: those of its own build, else those of the published wheel."""
    built_for = Path(__file__).with_name("build_info.json")
    if built_for.exists():
        return tuple((json.loads(built_for.read_text())["TORCH_CUDA_ARCH_LIST"] or "").split(";"))
    return BUILT_FOR


def covers(major: int, minor: int) -> bool:
    """Whether there is code that runs on such a card: of its generation, and not for a newer one."""
    known = [tuple(map(int, capability.split("."))) for capability in capabilities() if capability]
    return any(capability[0] == major and capability <= (major, minor) for capability in known)


def is_compatible() -> bool:
    """Whether the torch of this environment is the one that the wheel was built for."""
    import torch

    return torch.__version__ == BUILT_FOR_TORCH
