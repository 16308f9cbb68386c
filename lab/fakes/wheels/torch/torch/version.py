"""sdops lab fake of torch.version."""

from __future__ import annotations

__version__ = "2.1.2+cu121"
cuda = "12.1"
hip = None
debug = False
git_version = "sdops-lab-fake"
