"""sdops lab fake of numpy 1.24.1 (not the real package): as in PyTorch's indexes, another version than the requirements have."""

from __future__ import annotations

__fake__ = True
__version__ = "1.24.1"
