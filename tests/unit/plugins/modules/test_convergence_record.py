"""A host counts as unchanged until a file, a link, a directory or a program is another one than the last run has left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import convergence
from helpers.module_process import run_module

KEY = "0123abcd"


@pytest.fixture
def programs(monkeypatch) -> dict[str, str]:
    """The states that supervisord would tell."""
    states = {"webui": "RUNNING", "xray": "RUNNING"}
    monkeypatch.setattr(convergence, "program_states", lambda _directory: dict(states) or None)
    return states


@pytest.fixture
def host(tmp_path: Path, programs) -> Path:
    """A directory whose name is a pattern by itself, with one of each kind, and its record."""
    base = tmp_path / "host [a]*"
    (base / "packages").mkdir(parents=True)
    for name in ("launch.json", "packages/one.txt", "packages/two.txt", "packages/other.bin"):
        (base / name).write_text(name)
    (base / "current").symlink_to("packages")
    write(base)
    return base


def write(base: Path) -> int:
    paths = [str(base / name) for name in ("launch.json", "current", "packages", "missing")]
    return convergence.write_record(
        str(base / "record.json"),
        KEY,
        {"a": "1"},
        paths,
        [{"directory": str(base), "pattern": "packages/*.txt"}],
        "/supervisor",
    )


def difference(base: Path) -> list[str]:
    found = convergence.compare_record(str(base / "record.json"), "/supervisor")
    assert found["key"] == KEY and found["parts"] == {"a": "1"}
    return [part.removeprefix(f"{base}/") for part in found["difference"]]


def replace_same_size(path: Path) -> None:
    """As an editor does: another file of the same size and mode at the same place."""
    (path.parent / "new").write_text("x" * path.stat().st_size)
    os.replace(path.parent / "new", path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another content of the same size": (lambda base: replace_same_size(base / "launch.json"), "launch.json"),
    "appended": (lambda base: (base / "launch.json").write_text("longer than before"), "launch.json"),
    "another mode": (lambda base: (base / "launch.json").chmod(0o600), "launch.json"),
    "another owner": (lambda base: os.chown(base / "launch.json", 1, 1), "launch.json"),
    "removed": (lambda base: (base / "launch.json").unlink(), "launch.json"),
    "a directory instead": (
        lambda base: ((base / "launch.json").unlink(), (base / "launch.json").mkdir()),
        "launch.json",
    ),
    "a FIFO instead": (lambda base: ((base / "launch.json").unlink(), os.mkfifo(base / "launch.json")), "launch.json"),
    "another link": (lambda base: ((base / "current").unlink(), (base / "current").symlink_to("p")), "current"),
    "a file instead of a link": (
        lambda base: ((base / "current").unlink(), (base / "current").write_text("")),
        "current",
    ),
    "another mode of a directory": (lambda base: (base / "packages").chmod(0o700), "packages"),
    "the file that was missing": (lambda base: (base / "missing").write_text(""), "missing"),
    "one more that matches": (lambda base: (base / "packages/three.txt").write_text(""), "packages/three.txt"),
    "one less that matches": (lambda base: (base / "packages/two.txt").unlink(), "packages/two.txt"),
    "one that matches is another": (lambda base: replace_same_size(base / "packages/two.txt"), "packages/two.txt"),
    "the directory is gone": (lambda base: shutil.rmtree(base / "packages"), "packages"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_named(host, name):
    assert difference(host) == []
    change, named = CHANGES[name]
    change(host)
    assert difference(host) == ["changed", named]
    write(host)
    assert difference(host) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda states: states.update(webui="FATAL"),
        lambda states: states.pop("xray"),
        lambda states: states.update(other="RUNNING"),
        lambda states: states.clear(),  # supervisord does not answer
    ],
)
def test_programs_in_other_states_are_a_change(host, programs, change):
    change(programs)
    assert difference(host) == ["programs"]


def test_what_does_not_count_is_not_looked_at(host):
    (host / "packages/other.bin").write_text("another one")
    (host / "more").write_text("")
    (host / "launch.json").read_text()
    assert difference(host) == []


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"key": "k"}',
        '{"key": "k", "files": [], "paths": {}, "patterns": [1], "programs": {}}',
        "[" * 99999,
    ],
)
def test_a_damaged_record_is_none(host, damaged):
    (host / "record.json").write_text(damaged)
    found = convergence.compare_record(str(host / "record.json"), "/supervisor")
    assert found == {"key": "", "parts": {}, "difference": ["record"]}


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "link"])
def test_what_is_no_file_is_no_record(host, kind):
    record = host / "record.json"
    moved = record.rename(host / "moved.json")
    if kind == "directory":
        record.mkdir()
    elif kind == "fifo":
        os.mkfifo(record)
    elif kind == "link":
        record.symlink_to(moved)
    assert convergence.compare_record(str(record), "/supervisor")["difference"] == ["record"]


def test_the_module_writes_a_private_file_and_counts_the_models(tmp_path):
    (tmp_path / "webui/.sdops").mkdir(parents=True)
    entry = {"source_id": "x", "kind": "lora", "sha256": "0" * 64, "bytes": 1, "mtime_ns": 1}
    (tmp_path / "webui/.sdops/models.json").write_text(json.dumps({"models/Lora/a.safetensors": entry}))
    arguments = {
        "path": str(tmp_path / "record.json"),
        "key": KEY,
        "paths": ["/etc/passwd"],
        "models_dir": str(tmp_path / "webui"),
        "supervisor_dir": str(tmp_path / "none"),
    }
    planned = run_module("convergence_record", check=True, **arguments)
    assert not planned["changed"] and not (tmp_path / "record.json").exists()
    result = run_module("convergence_record", **arguments)
    assert result["files"] == 3 and not result["changed"]
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600
    files = json.loads((tmp_path / "record.json").read_text())["files"]
    assert files[str(tmp_path / "webui/models/Lora/a.safetensors")] == []
    assert files["/etc/passwd"][0] == "file"
    # no supervisord answers there, so nothing is known to run
    state = run_module(
        "host_state_info", convergence_record=arguments["path"], supervisor_dir=arguments["supervisor_dir"]
    )
    assert state["state"]["convergence"] == {
        "key": KEY,
        "parts": {},
        "difference": ["programs"],
    }


def test_a_record_that_cannot_be_written_is_a_warning(tmp_path):
    result = run_module("convergence_record", path=str(tmp_path / "none/record.json"), key=KEY, supervisor_dir="/none")
    assert not result["failed"] and not result["changed"]
    assert "the next run will check everything again" in json.dumps(result["warnings"])
