"""sdops lab fake of the package clip (not the real one): names, no models."""

from __future__ import annotations

__fake__ = True


def available_models() -> list[str]:
    """The fake has none."""
    return []
