"""supervisord is started where none answers, with the real program."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest
from helpers.module_process import run_module

SETTINGS = """[unix_http_server]
file={0}/supervisor.sock
[supervisord]
logfile={0}/log
pidfile={0}/pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict]:
    """Options of the module; the supervisord that it has started is ended by its pid."""
    directory = tmp_path / "s"
    directory.mkdir()
    (directory / "supervisord.conf").write_text(SETTINGS.format(directory))
    yield {"program": str(Path(sys.executable).parent / "supervisord"), "supervisor_dir": str(directory)}
    if (directory / "pid").exists():
        pid = int((directory / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while (directory / "supervisor.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_started_once_and_without_proxies(options: dict) -> None:
    planned = run_module("supervisord", check=True, **options)
    assert planned["changed"] and planned["actions"] == ["start supervisord"]
    assert not (Path(options["supervisor_dir"]) / "pid").exists()
    started = run_module("supervisord", env={"https_proxy": "http://127.0.0.1:9", "NO_PROXY": "x"}, **options)
    assert started["changed"] and not started["failed"]
    environment = Path(f"/proc/{started['pid']}/environ").read_bytes().split(b"\0")
    assert [each for each in environment if b"proxy" in each.split(b"=")[0].lower()] == []
    for check in (True, False):
        repeated = run_module("supervisord", check=check, **options)
        assert not repeated["changed"] and not repeated["actions"]
    reloaded = run_module("supervisord", reload=True, **options)
    assert reloaded["actions"] == ["reload supervisord"] and reloaded["pid"] == started["pid"]


def test_failure_names_the_cause(options: dict) -> None:
    waiting = run_module("supervisord", **options, start=False, timeout=0)
    assert waiting["failed"] and "supervisord does not answer" in waiting["msg"]
    (Path(options["supervisor_dir"]) / "supervisord.conf").write_text("[supervisord]\nlogfile_maxbytes=x\n")
    broken = run_module("supervisord", **options)
    assert broken["failed"] and "could not be started" in broken["msg"] and "invalid literal" in broken["msg"]
