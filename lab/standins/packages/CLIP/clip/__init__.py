"""sdops lab stand-in for the package clip (not the real one): names, no models."""

from __future__ import annotations

from typing import List

__standin__ = True


def available_models() -> list[str]:
    """The stand-in has none."""
    return []
