"""supervisor_program with a real supervisord."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


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


def test_changed_file_restarts_the_program(supervisor, run_module, tmp_path):
    given = program(
        supervisor, restart_on="a", restart_on_files=[str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    )
    pids = [run_module("supervisor_program", **given)["pid"]]
    for content in ("1", "2"):
        (tmp_path / "two.json").write_text(content)
        assert run_module("supervisor_program", **given, check=True)["actions"][-1] == "restart one"
        pids.append(run_module("supervisor_program", **given)["pid"])
        assert not run_module("supervisor_program", **given)["changed"]
    assert len(set(pids)) == 3


def test_a_killed_program_comes_back(supervisor, run_module):
    first = run_module("supervisor_program", **program(supervisor))["pid"]
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while run_module("supervisor_program", **program(supervisor), check=True)["pid"] in (0, first):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_program_that_dies_is_an_error_with_its_last_words(supervisor, run_module):
    command = "sh -c 'echo the config is broken; exit 3'"
    options = program(supervisor, command=command, startsecs=1, startretries=0, wait=10)
    found = run_module("supervisor_program", **options)
    assert found["failed"]
    assert "the config is broken" in found["msg"]


def test_percent_commas_and_quotes_survive(supervisor, run_module):
    options = program(supervisor, command="sh -c 'echo \"$X\"; sleep 1000'", environment={"X": "it's 100%, c"})
    found = run_module("supervisor_program", **options)
    assert not found["failed"], found
    deadline = time.monotonic() + 10
    while not ((supervisor / "one.out").exists() and (supervisor / "one.out").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (supervisor / "one.out").read_text() == "it's 100%, c\n"


def test_what_the_format_cannot_hold_is_rejected(supervisor, run_module):
    for more in ({"environment": {"X": 'a "b"'}}, {"command": "sh -c 'a ; b'"}, {"command": "a # b"}):
        found = run_module("supervisor_program", **program(supervisor, **more))
        assert found["failed"]
        assert "cannot hold" in found["msg"]
    assert list((supervisor / "conf.d").iterdir()) == []


def test_stopped_restarted_absent(supervisor, four_times, run_module):
    first = run_module("supervisor_program", **program(supervisor))["pid"]
    repeated = run_module("supervisor_program", **program(supervisor, state="restarted"))
    assert (repeated["changed"], repeated["pid"] != first) == (True, True)
    four_times("supervisor_program", name="one", supervisor_dir=str(supervisor), state="stopped")
    four_times("supervisor_program", name="one", supervisor_dir=str(supervisor), state="absent")
    assert list((supervisor / "conf.d").iterdir()) == []


def test_no_supervisord(tmp_path, run_module):
    (tmp_path / "conf.d").mkdir()
    options = program(tmp_path)
    assert run_module("supervisor_program", check=True, **options)["changed"] is True
    found = run_module("supervisor_program", **options)
    assert found["failed"]
    assert "does not answer" in found["msg"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def orphan(tmp_path):
    """A process with the program's arguments that no supervisord started, and one with others; ended by their ids."""
    mark = str(tmp_path / "launch.json")
    script = "import signal, sys, time; time.sleep(1000)"
    started = [subprocess.Popen([sys.executable, "-c", script, *more]) for more in ((mark,), (mark, "--check"), ())]
    time.sleep(0.3)
    yield f"{sys.executable} -c '{script}' {mark}", started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("state", ["started", "restarted", "stopped"])
def test_what_a_dead_supervisord_left_behind_is_ended(supervisor, run_module, orphan, state):
    command, (left, other, third) = orphan
    if state == "stopped":
        run_module("supervisor_program", **program(supervisor, command=command))
    options = program(supervisor, command=command, state=state, end_orphans=True)
    planned = run_module("supervisor_program", check=True, **options)
    assert f"end process {left.pid} of one" in planned["actions"][0] and alive(left.pid)
    done = run_module("supervisor_program", **options)
    assert done["changed"] and not alive(left.pid)
    assert alive(other.pid) and alive(third.pid)
    repeated = run_module("supervisor_program", **{**options, "state": "stopped" if state == "stopped" else "started"})
    assert repeated["changed"] is False, repeated
    if state != "stopped":
        assert alive(repeated["pid"])


def test_nothing_is_ended_unless_requested(supervisor, run_module, orphan):
    command, (left, *_) = orphan
    run_module("supervisor_program", **program(supervisor, command=command))
    assert alive(left.pid)


def test_one_that_is_described_already_needs_no_description(supervisor, run_module, orphan):
    """As the playbooks start, stop and restart do it: the command is that of its section."""
    short = {"name": "one", "supervisor_dir": str(supervisor), "end_orphans": True}
    found = run_module("supervisor_program", **short)
    assert found["failed"] and "never set up" in found["msg"] and "Run the site" in found["msg"]
    command, (left, *_) = orphan
    first = run_module("supervisor_program", **program(supervisor, command=command))["pid"]
    before = (supervisor / "conf.d/one.conf").read_text()
    assert run_module("supervisor_program", check=True, **short)["actions"] == [
        f"end process {left.pid} of one, which a former supervisord left behind",
        "restart one",
    ]
    found = run_module("supervisor_program", **short)
    assert found["pid"] not in (0, first) and not alive(left.pid)
    assert run_module("supervisor_program", **short)["changed"] is False
    assert run_module("supervisor_program", **short, state="stopped")["changed"]
    assert run_module("supervisor_program", **short, state="restarted", check=True)["actions"] == ["start one"]
    assert run_module("supervisor_program", **short)["process_state"] == "RUNNING"
    assert (supervisor / "conf.d/one.conf").read_text() == before


def test_a_section_that_supervisord_refuses_does_not_stay(supervisor, run_module):
    options = program(supervisor)
    run_module("supervisor_program", **options)
    before = (supervisor / "conf.d/one.conf").read_text()
    found = run_module("supervisor_program", **{**options, "user": "no-such-user"})
    assert found["failed"]
    assert (supervisor / "conf.d/one.conf").read_text() == before
    other = run_module("supervisor_program", **program(supervisor, "other", user="no-such-user"))
    assert other["failed"] and not (supervisor / "conf.d/other.conf").exists()


def test_logs_are_rotated_as_configured(supervisor, run_module):
    run_module("supervisor_program", **program(supervisor, log_maxbytes="3MB", log_backups=5))
    output = (supervisor / "conf.d/one.conf").read_text()
    assert "stdout_logfile_maxbytes=3MB" in output and "stdout_logfile_backups=5" in output
