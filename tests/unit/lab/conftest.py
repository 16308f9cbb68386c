"""A small lab server, built once, served on 127.0.0.1: the same code and content as the lab's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from lab.servers import hosts
from lab.servers.build import Builder, ca, models, repositories, wheels, xray
from lab.servers.server import LabServer, Listener

REPOSITORY = "lab-fakes/demo"


@dataclass
class Built:
    """What was built, and where."""

    work: Path
    git: dict[str, Any]
    wheels: dict[str, Any]
    hub: dict[str, Any]
    civitai: dict[str, Any]
    xray: dict[str, Any]

    @property
    def ca(self) -> Path:
        return self.work / "ca" / "ca.pem"

    @property
    def root(self) -> Path:
        return self.work / "content"


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one repository and two wheels."""
    root = tmp_path_factory.mktemp("fakes")
    write_tree(
        root / "demo-1", {"README.md": "one\n", ".gitignore": "kept\n", "kept/file": "x", "__pycache__/a.pyc": "no"}
    )
    write_tree(root / "demo-2", {"README.md": "two\n", "run.sh": "#!/bin/sh\necho run\n"})
    (root / "demo-2" / "run.sh").chmod(0o755)
    write_tree(
        root / "wheels/torch", {"torch/__init__.py": '__version__ = "2.1.2+cu121"\n', "requires.txt": "# none\n"}
    )
    write_tree(root / "wheels/numpy", {"numpy/__init__.py": ""})
    write_tree(root / "wheels/vision", {"torchvision/__init__.py": "", "requires.txt": "torch==2.1.2\n"})
    return root


MANIFEST = [
    {"source": "demo-1", "repository": REPOSITORY, "tag": "v1.0"},
    {"source": "demo-2", "repository": REPOSITORY, "tag": "v2.0"},
]
WHEELS = [
    {"source": "wheels/torch", "name": "torch", "version": "2.1.2+cu121"},
    {"source": "wheels/vision", "name": "torchvision", "version": "0.16.2+cu121"},
    {"source": "wheels/numpy", "name": "numpy", "version": "1.24.1", "folder": "whl"},
]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, fakes: Path) -> Built:
    builder = Builder(tmp_path_factory.mktemp("work"))
    ca.build(builder)
    return Built(
        builder.work,
        repositories.build(builder, MANIFEST, fakes),
        wheels.build(builder, WHEELS, fakes),
        models.build_hub(builder),
        models.build_civitai(builder),
        xray.build(builder, f"#!{sys.executable}", ".".join(map(str, sys.version_info[:2]))),
    )


@pytest.fixture(scope="session")
def session_lab_server(built: Built) -> Iterator[LabServer]:
    plain = [Listener(default_host=name, tls=False) for name in hosts.BLOCKED if name != hosts.GIT]
    secure = [Listener(), *(Listener(default_host=name) for name in hosts.DOMESTIC)]
    folder = built.work / "ca"
    log = built.work / "access.log"
    with LabServer(built.root, [*secure, *plain], folder / "server.pem", folder / "server.key", log) as server:
        yield server


@pytest.fixture
def lab_server(session_lab_server: LabServer) -> Iterator[LabServer]:
    """The server as at its start, with an empty log in memory."""
    session_lab_server.log.entries.clear()
    yield session_lab_server
    session_lab_server.reset()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A client without proxies, redirects followed by hand, whole bodies."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": "sdops-test"})
        yield session


def wait_for_port(port: int, process: subprocess.Popen[Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port} (exit {process.poll()})")


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without this machine's settings of pip, git, proxies and trusted certificates."""
    drop = ("PIP_", "GIT_", "UV_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_")
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(drop) and "proxy" not in name.lower()
    }
    return {**env, **more}
