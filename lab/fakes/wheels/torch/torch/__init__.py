"""sdops lab fake of torch 2.1.2+cu121 (not the real package): versions and the graphics card, no tensors."""

from __future__ import annotations

from torch import cuda, version

__fake__ = True
__version__ = version.__version__

__all__ = ["__version__", "compiled_with_cxx11_abi", "cuda", "version"]


def compiled_with_cxx11_abi() -> bool:
    """As the wheels of 2.1.2 say."""
    return False
