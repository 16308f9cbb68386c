"""The fake WebUI, started as the role starts it: by the launch wrapper, with a credentials file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from helpers.paths import ROOT
from lab.ports import free_port
from lab.servers.build import models

PYTHON = ROOT / ".work/gradio-3/bin/python"  # it has the fastapi that the fake needs
PASSWORD = "correct-horse-battery"


@dataclass
class Running:
    url: str
    credentials: Path
    directory: Path
    log: Path
    process: subprocess.Popen

    @property
    def access(self) -> dict:
        return {"url": self.url, "credentials_file": str(self.credentials)}


def prepare(
    directory: Path,
    *arguments: str,
    secret: bool = True,
    checkpoint: bytes = b"",
    settings: dict | None = None,
    **more: object,
) -> int:
    """A WebUI in ``directory`` (a copy of the fake), with a checkpoint; ``more`` goes into its launch configuration. Its port."""
    webui, port = directory / "webui", free_port()
    shutil.copytree(ROOT / "lab/fakes/webui", webui, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "lab/fakes/repositories", webui / "repositories")
    place = webui / "models/Stable-diffusion"
    place.mkdir(parents=True, exist_ok=True)
    tensors = models.checkpoint_tensors(1, "F16")
    (place / "tiny.safetensors").write_bytes(checkpoint or models.safetensors_bytes("tiny", tensors))
    if settings:
        (webui / "config.json").write_text(json.dumps(settings))
    credentials = directory / "credentials"
    credentials.write_text(f"sdops:{PASSWORD}\n")
    credentials.chmod(0o600)
    login = ["--gradio-auth-path", str(credentials)] if secret else []
    config = {
        "webui_dir": str(webui),
        "args": [*login, "--skip-prepare-environment", "--port", str(port), "--api", "--use-cpu", "all", *arguments],
        "environment": {
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT / "lab/fakes/wheels/torch"),
            "no_proxy": "*",
        },
        "api_auth_file": str(credentials) if secret else None,
        **more,
    }
    (directory / "launch.json").write_text(json.dumps(config))
    return port


def launch_command(directory: Path) -> list[str]:
    """What runs the WebUI that was prepared in ``directory``."""
    return [str(PYTHON), "-u", str(ROOT / "roles/webui_service/files/launch_webui.py"), str(directory / "launch.json")]


def start(directory: Path, *arguments: str, **more: object) -> Running:
    """A WebUI as ``prepare`` makes it, running."""
    port = prepare(directory, *arguments, **more)
    log = directory / "webui.log"
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    process = subprocess.Popen(
        launch_command(directory),
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        env={
            **environment,
            "PYTHONPATH": str(ROOT / "lab/fakes/wheels/torch"),
            "ALL_PROXY": "socks5h://127.0.0.1:9",
            # what supervisord got of PID 1, say
            "https_proxy": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
    )
    wait_for(lambda: "Running on local URL" in log.read_text() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    return Running(f"http://127.0.0.1:{port}", directory / "credentials", directory / "webui", log, process)


@pytest.fixture
def start_webui():
    return start


@pytest.fixture(scope="module")
def webui(tmp_path_factory):
    running = start(tmp_path_factory.mktemp("webui"))
    yield running
    running.process.terminate()
    running.process.wait(20)


@pytest.fixture
def supervisor(tmp_path):
    """Directory of a running supervisord; ended by its pid."""
    with run_supervisord(tmp_path / "s") as directory:
        yield directory


@contextlib.contextmanager
def run_supervisord(directory: Path) -> Iterator[Path]:
    """A supervisord of ``directory``, with the programs that lie in its conf.d."""
    (directory / "conf.d").mkdir(parents=True, exist_ok=True)
    conf = directory / "supervisord.conf"
    conf.write_text(
        f"""[unix_http_server]
file={directory}/supervisor.sock
[supervisord]
logfile={directory}/log
pidfile={directory}/pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={directory}/conf.d/*.conf
"""
    )
    process = subprocess.Popen(
        [Path(sys.executable).parent / "supervisord", "-n", "-c", str(conf)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while not (directory / "supervisor.sock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        yield directory
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def ready(webui, run_module):
    found = run_module("program_check_info", webui=dict(**webui.access, timeout=60, log_file=str(webui.log)))
    assert not found["failed"], found
    return found


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
