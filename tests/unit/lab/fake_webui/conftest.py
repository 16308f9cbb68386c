"""Fixtures: the checkout that all tests share, and a data directory with a server for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_webui import Instance, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("fake"))
    done = made.launch("--exit", "--skip-torch-cuda-test")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def instance(site: Site, tmp_path: Path):
    made = Instance(site, tmp_path / "data")
    yield made
    made.stop()
