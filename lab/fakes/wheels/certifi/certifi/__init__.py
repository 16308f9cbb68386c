"""sdops lab fake of certifi 2022.12.7 (not the real package): as in PyTorch's indexes, another version than the requirements have."""

from __future__ import annotations

__fake__ = True
__version__ = "2022.12.7"
