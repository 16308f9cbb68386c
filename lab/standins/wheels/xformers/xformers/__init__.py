"""sdops lab stand-in for xformers 0.0.23.post1 (not the real package): tells whether it would fit, speeds up nothing."""

from __future__ import annotations

__standin__ = True
__version__ = "0.0.23.post1"
BUILT_FOR_TORCH = "2.1.2+cu121"
BUILT_FOR_CUDA = 1201


def fits() -> bool:
    """Whether the torch of this environment is the one that the wheel was built for."""
    import torch

    return torch.__version__ == BUILT_FOR_TORCH
