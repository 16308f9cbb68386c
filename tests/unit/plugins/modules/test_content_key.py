"""A check runs when something that it depends on has changed since it last succeeded, and only then."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers.module_process import run_module


@pytest.fixture
def inputs(tmp_path: Path) -> dict:
    """Options of the module, with an environment of three distributions of which one is half installed."""
    prefix = tmp_path / "env"
    packages = prefix / "lib/python3.10/site-packages"
    for folder in ("torch-2.1.2+cu121.dist-info", "Foo_Bar-1.0.dist-info"):
        (packages / folder).mkdir(parents=True)
        (packages / folder / "INSTALLER").write_text("uv")
    (packages / "half-3.dist-info").mkdir()
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tmp_path / "requirements.txt").write_text("torch\n")
    return {
        "name": "launch",
        "state_file": str(tmp_path / "keys.json"),
        "values": {"version": "1.10.1", "packages": ["a", "b"]},
        "files": [str(tmp_path / "requirements.txt"), str(tmp_path / "missing.txt")],
        "environment": str(prefix),
    }


def reason(inputs: dict) -> str:
    result = run_module("content_key", **inputs)
    assert not result["failed"] and not result["changed"] and result["stale"] == bool(result["reason"])
    return result["reason"]


def record(inputs: dict) -> dict:
    return run_module("content_key", **inputs, state="recorded")


def test_check_is_stale_until_its_success_is_recorded(inputs: dict) -> None:
    state_file = Path(inputs["state_file"])
    assert reason(inputs) == "no success is recorded"
    planned = run_module("content_key", check=True, **inputs, state="recorded")
    assert planned["changed"] and planned["actions"] == ["record the key of launch"] and not state_file.exists()
    assert record(inputs)["changed"] and state_file.exists()
    assert reason(inputs) == ""
    assert not record(inputs)["changed"]
    assert reason({**inputs, "name": "another"}) == "no success is recorded"
    record({**inputs, "name": "another"})
    assert sorted(json.loads(state_file.read_text())) == ["another", "launch"] and reason(inputs) == ""


def test_force_runs_the_check_in_any_case(inputs: dict) -> None:
    record(inputs)
    assert reason({**inputs, "force": True}) == "it was asked for"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"launch": 1}', '{"launch": {"values": "x"}}', "\0"])
def test_damaged_state_file_makes_the_check_stale(inputs: dict, damage: str) -> None:
    record(inputs)
    Path(inputs["state_file"]).write_text(damage)
    assert reason(inputs) == "no success is recorded"
    record(inputs)
    assert reason(inputs) == ""


def test_entries_of_a_wrong_type_make_the_check_stale(inputs: dict) -> None:
    record(inputs)
    state_file = Path(inputs["state_file"])
    keys = json.loads(state_file.read_text())
    for part in ("files", "environment", "distributions"):
        state_file.write_text(json.dumps({"launch": {**keys["launch"], part: 1}}))
        assert reason(inputs) == "no success is recorded"


def test_each_input_makes_the_check_stale(inputs: dict, tmp_path: Path) -> None:
    record(inputs)
    assert reason({**inputs, "values": {"version": "1.10.2", "packages": ["a", "b"]}}) == "its settings have changed"
    assert reason({**inputs, "values": {"packages": ["a", "b"], "version": "1.10.1"}}) == ""
    assert reason({**inputs, "files": inputs["files"][:1]}) == f"{tmp_path}/missing.txt has changed"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("torch==2\n")
    assert reason(inputs) == f"{requirements} has changed"
    requirements.unlink()
    assert reason(inputs) == f"{requirements} has changed"
    requirements.write_text("torch\n")
    assert reason(inputs) == ""
    (tmp_path / "missing.txt").write_text("")
    assert reason(inputs) == f"{tmp_path}/missing.txt has changed"


def test_environment_that_was_recreated_makes_the_check_stale(inputs: dict, tmp_path: Path) -> None:
    record(inputs)
    marker = tmp_path / "env/pyvenv.cfg"
    content = marker.read_text()
    # a snapshot puts copies into the place of the files
    shutil.copy2(marker, tmp_path / "copy")
    os.replace(tmp_path / "copy", marker)
    assert reason(inputs) == ""
    marker.unlink()
    assert reason(inputs) == "the environment was recreated"
    marker.write_text(content)
    assert reason(inputs) == "the environment was recreated"
    record(inputs)
    assert reason(inputs) == ""
    shutil.rmtree(tmp_path / "env")
    assert reason(inputs) == "the environment was recreated"


def test_distributions_that_changed_make_the_check_stale(inputs: dict, tmp_path: Path) -> None:
    packages = tmp_path / "env/lib/python3.10/site-packages"
    record(inputs)
    # one that comes later is another role's
    (packages / "half-3.dist-info/INSTALLER").write_text("pip")
    assert reason(inputs) == ""
    (packages / "torch-2.1.2+cu121.dist-info").rename(packages / "torch-2.0.1.dist-info")
    assert reason(inputs) == "torch was 2.1.2+cu121 and is 2.0.1"
    (packages / "torch-2.0.1.dist-info").rename(packages / "torch-2.1.2+cu121.dist-info")
    assert reason(inputs) == ""
    (packages / "Foo_Bar-1.0.dist-info/INSTALLER").unlink()
    assert reason(inputs) == "foo-bar was 1.0 and is gone"
    only = {**inputs, "distributions": ["Torch"]}
    record(only)
    assert reason(only) == ""
    # another role exchanges it afterwards
    other = {**inputs, "ignored_distributions": ["TORCH"]}
    record(other)
    (packages / "torch-2.1.2+cu121.dist-info").rename(packages / "torch-2.0.1.dist-info")
    assert reason(other) == ""
