"""sdops lab fake of the package open_clip (not the real one): names, no models."""

from __future__ import annotations

__fake__ = True
__version__ = "2.7.0"


def list_pretrained() -> list[tuple[str, str]]:
    """The fake has none."""
    return []
