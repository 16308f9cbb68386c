"""sdops lab stand-in for the package open_clip (not the real one): names, no models."""

from __future__ import annotations

from typing import List, Tuple

__standin__ = True
__version__ = "2.7.0"


def list_pretrained() -> list[tuple[str, str]]:
    """The stand-in has none."""
    return []
