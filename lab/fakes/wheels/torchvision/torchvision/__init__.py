"""sdops lab fake of torchvision 0.16.2+cu121 (not the real package): a version, no images."""

from __future__ import annotations

import torch  # noqa: F401  (as in the original, it is nothing without torch)

__fake__ = True
__version__ = "0.16.2+cu121"
