"""What a module reports while the programs that it has started are at work."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import ansible_collections
import pytest
from ansible_collections.sdops.webui.plugins.module_utils.procfs import bytes_written, descendants
from helpers.processes import words_of_processes

COLLECTIONS = Path(ansible_collections.__path__[0]).parent
MIB = 1 << 20
# one that ends and is waited for, one that goes on in a session of its own
PROGRAMS = """
head -c 3145728 /dev/zero > one; setsid sh -c 'head -c 2097152 /dev/zero > two; sleep 60' & touch begun; wait
"""


def until(condition, limit: float = 20.0):
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def programs(tmp_path):
    process = subprocess.Popen(["sh", "-c", PROGRAMS], cwd=tmp_path, start_new_session=True)
    yield process
    for pid in [*descendants(process.pid), process.pid]:
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
    process.wait()


def test_bytes_of_programs_that_ended_and_that_go_on(programs, tmp_path):
    until(lambda: (tmp_path / "begun").exists())
    assert until(lambda: bytes_written(programs.pid) >= 5 * MIB)
    assert bytes_written(programs.pid) < 5 * MIB + 4096
    assert bytes_written(2**30) == 0


MODULE = f"""
import subprocess, sys
sys.path.insert(0, {str(COLLECTIONS)!r})
from ansible_collections.sdops.webui.plugins.module_utils.progress import report_bytes_written
with report_bytes_written(sys.argv[1] or None, "heavy"):
    subprocess.run(["sh", "-c", sys.argv[2]], check=True)
"""


def run_watched(tmp_path, script: str, watched: bool = True) -> subprocess.Popen:
    file = str(tmp_path / "progress.json") if watched else ""
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(MODULE), file, script], cwd=tmp_path)


def entry(tmp_path) -> dict:
    """What the file says of the work; nothing is known at its first moment."""
    return next(iter(json.loads((tmp_path / "progress.json").read_text())["files"]), {"done": 0})


@pytest.mark.parametrize(("script", "state"), [("", "done"), ("; false", "failed")])
def test_the_file_says_what_is_written_and_how_it_ended(tmp_path, script, state):
    process = run_watched(tmp_path, "head -c 3145728 /dev/zero > one; touch begun; sleep 2.5" + script)
    until(lambda: (tmp_path / "begun").exists())
    seen = until(lambda: entry(tmp_path)["done"] and entry(tmp_path))
    assert seen["name"] == "heavy" and seen["state"] == "writing" and seen["total"] is None
    assert process.wait() == (0 if state == "done" else 1)
    assert entry(tmp_path)["state"] == state
    assert 3 * MIB <= entry(tmp_path)["done"] < 4 * MIB


def test_nothing_is_written_where_nobody_watches(tmp_path):
    assert run_watched(tmp_path, "true", watched=False).wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_what_was_started_in_other_sessions_too(tmp_path):
    process = run_watched(tmp_path, "setsid -w sleep 654.321 & setsid -w sleep 654.321; touch again")

    def sleeping():
        return [pid for pid, words in words_of_processes("cmdline") if words[:2] == [b"sleep", b"654.321"]]

    until(lambda: len(sleeping()) == 2)
    process.terminate()
    assert process.wait() == 128 + 15
    until(lambda: not sleeping())
    assert not (tmp_path / "again").exists()
