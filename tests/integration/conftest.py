"""What the integration tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# importlib mode puts no directory on the path: the tests' own, and the checkout for the lab
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from ansible_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
