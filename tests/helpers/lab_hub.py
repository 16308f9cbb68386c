"""The lab's Hub and Civitai over plain HTTP on 127.0.0.1, one port for each host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.servers.build import Builder, models
from lab.servers.server import LabServer, Listener

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
def session_lab_server(tmp_path_factory):
    work = tmp_path_factory.mktemp("lab")
    builder = Builder(work)
    models.build_hub(builder)
    models.build_civitai(builder)
    with LabServer(work / "content", [Listener(default_host=host, tls=False) for host in HOSTS]) as server:
        yield server


@pytest.fixture
def lab_server(session_lab_server):
    session_lab_server.log.entries.clear()
    yield session_lab_server
    session_lab_server.reset()


@dataclass
class Target:
    """A WebUI directory and the arguments that all calls share."""

    webui: Path
    arguments: dict

    def path(self, name: str) -> Path:
        return self.webui / name


@pytest.fixture
def target(lab_server, tmp_path) -> Target:
    webui = tmp_path / "webui"
    webui.mkdir()
    endpoints = {"huggingface_endpoint": lab_server.url(HOSTS[0]), "civitai_endpoint": lab_server.url(HOSTS[2])}
    return Target(webui, {"webui_dir": str(webui), "retries": 2, "timeout": 5, **endpoints})
