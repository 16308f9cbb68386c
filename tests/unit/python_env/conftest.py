"""Helpers of this directory and of the module tests can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode puts no test directory on the path
sys.path.insert(0, str(Path(__file__).parents[1] / "modules"))
