"""What the integration tests share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Iterator

import pytest
from helpers.ansible_site import Site
from helpers.lab_hub import lab_server, session_lab_server

__all__ = ["lab_server", "session_lab_server"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """As tmp_path, which is longer than the path of supervisord's socket may be."""
    with tempfile.TemporaryDirectory(prefix="site-") as base:
        yield Path(base)


@pytest.fixture
def site(short_path: Path) -> Site:
    return Site(short_path)
