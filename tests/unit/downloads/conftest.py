"""The lab's Hub and Civitai over plain HTTP on 127.0.0.1, one port for each host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.world.build import Builder, models
from lab.world.server import Listener, WorldServer

HOSTS = (
    "huggingface.lab.test",
    "cdn.huggingface.lab.test",
    "civitai.lab.test",
    "storage.civitai.lab.test",
    "b2.civitai.lab.test",
    "hf.lab.test",
    "hf-mirror.lab.test",
    "hf-proxy.lab.test",
    "big.lab.test",
)


@pytest.fixture(scope="session")
def session_world(tmp_path_factory):
    work = tmp_path_factory.mktemp("world")
    builder = Builder(work)
    models.build_hub(builder)
    models.build_civitai(builder)
    with WorldServer(work / "world", [Listener(default_host=host, tls=False) for host in HOSTS]) as server:
        yield server


@pytest.fixture
def world(session_world):
    session_world.log.entries.clear()
    yield session_world
    session_world.reset()


@dataclass
class Box:
    """A WebUI directory and the arguments that all calls share."""

    webui: Path
    arguments: dict

    def path(self, name: str) -> Path:
        return self.webui / name


@pytest.fixture
def box(world, tmp_path) -> Box:
    webui = tmp_path / "webui"
    webui.mkdir()
    endpoints = {"huggingface_endpoint": world.url(HOSTS[0]), "civitai_endpoint": world.url(HOSTS[2])}
    return Box(webui, {"webui_dir": str(webui), "retries": 2, "timeout": 5, **endpoints})
