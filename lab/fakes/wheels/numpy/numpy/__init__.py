"""sdops lab fake of numpy 1.24.1 (not the real package): as in PyTorch's indexes, a version that nobody asked for."""

from __future__ import annotations

__fake__ = True
__version__ = "1.24.1"
