"""supervisor_program with a real supervisord."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def supervisor(tmp_path):
    """Directory of a running supervisord; ended by its pid."""
    directory = tmp_path / "s"
    (directory / "conf.d").mkdir(parents=True)
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
    process = subprocess.Popen([BIN / "supervisord", "-n", "-c", str(conf)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (directory / "supervisor.sock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield directory
    process.terminate()
    process.wait(20)


def program(supervisor, name="one", **more) -> dict:
    log = supervisor / f"{name}.out"
    base = {"name": name, "supervisor_dir": str(supervisor), "command": "sleep 1000", "stdout_logfile": str(log)}
    return {**base, "directory": "/", "startsecs": 0, **more}


def test_started_and_kept(supervisor, four_times):
    planned, applied = four_times("supervisor_program", **program(supervisor))
    assert "command=sleep 1000" in planned["diff"]["after"]
    assert applied["process_state"] == "RUNNING"
    os.kill(applied["pid"], 0)


def test_what_it_reads_restarts_it_and_nobody_else(supervisor, run_module):
    other = run_module("supervisor_program", **program(supervisor, "other"))["pid"]
    first = run_module("supervisor_program", **program(supervisor, restart_on="a"))["pid"]
    second = run_module("supervisor_program", **program(supervisor, restart_on="b"))
    assert (second["changed"], second["pid"] != first) == (True, True)
    assert run_module("supervisor_program", **program(supervisor, "other"))["pid"] == other


def test_a_killed_program_comes_back(supervisor, run_module):
    first = run_module("supervisor_program", **program(supervisor))["pid"]
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while run_module("supervisor_program", **program(supervisor), check=True)["pid"] in (0, first):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_program_that_dies_is_an_error_with_its_last_words(supervisor, run_module):
    command = "sh -c 'echo the config is broken; exit 3'"
    wish = program(supervisor, command=command, startsecs=1, startretries=0, wait=10)
    found = run_module("supervisor_program", **wish)
    assert found["failed"]
    assert "the config is broken" in found["msg"]


def test_percent_commas_and_quotes_survive(supervisor, run_module):
    wish = program(supervisor, command="sh -c 'echo \"$X\"; sleep 1000'", environment={"X": "it's 100%, c"})
    found = run_module("supervisor_program", **wish)
    assert not found["failed"], found
    deadline = time.monotonic() + 10
    while not ((supervisor / "one.out").exists() and (supervisor / "one.out").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (supervisor / "one.out").read_text() == "it's 100%, c\n"


def test_what_the_format_cannot_hold_is_refused(supervisor, run_module):
    for more in ({"environment": {"X": 'a "b"'}}, {"command": "sh -c 'a ; b'"}, {"command": "a # b"}):
        found = run_module("supervisor_program", **program(supervisor, **more))
        assert found["failed"]
        assert "cannot hold" in found["msg"]
    assert list((supervisor / "conf.d").iterdir()) == []


def test_stopped_restarted_absent(supervisor, four_times, run_module):
    first = run_module("supervisor_program", **program(supervisor))["pid"]
    again = run_module("supervisor_program", **program(supervisor, state="restarted"))
    assert (again["changed"], again["pid"] != first) == (True, True)
    four_times("supervisor_program", name="one", supervisor_dir=str(supervisor), state="stopped")
    four_times("supervisor_program", name="one", supervisor_dir=str(supervisor), state="absent")
    assert list((supervisor / "conf.d").iterdir()) == []


def test_no_supervisord(tmp_path, run_module):
    (tmp_path / "conf.d").mkdir()
    wish = program(tmp_path)
    assert run_module("supervisor_program", check=True, **wish)["changed"] is True
    found = run_module("supervisor_program", **wish)
    assert found["failed"]
    assert "does not answer" in found["msg"]
