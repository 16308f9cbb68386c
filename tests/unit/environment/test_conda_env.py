"""conda_env with the real rattler library on a channel of the test's own, and with stand-in command lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lab.world.build import Builder, conda

VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture(scope="session")
def channel(tmp_path_factory) -> str:
    """A channel with this interpreter in it, made by the lab's own code."""
    builder = Builder(tmp_path_factory.mktemp("conda"))
    conda.build(builder, conda.Interpreter.of_program(sys.executable))
    found = builder.world / "conda" / "conda-forge"
    return found.as_uri()


def fake_conda(directory: Path, python_version: str, status: int = 0) -> Path:
    """A stand-in conda: `install --prefix P ...` makes an interpreter that says it is ``python_version``."""
    path = directory / "conda"
    path.write_text(
        f"""#!{sys.executable}
import json, os, sys
open({str(directory / "calls")!r}, "a").write(json.dumps(sys.argv[1:]) + "\\n")
if {status}:
    sys.stderr.write("PackagesNotFoundError: python=3.10.6\\n"); sys.exit({status})
prefix = sys.argv[sys.argv.index("--prefix") + 1]
os.makedirs(prefix + "/bin", exist_ok=True)
with open(prefix + "/bin/python", "w") as out:
    out.write("#!/bin/sh\\necho {python_version}\\n")
os.chmod(prefix + "/bin/python", 0o755)
os.makedirs(prefix + "/conda-meta", exist_ok=True)
for spec in sys.argv:
    name, _, version = spec.partition("=")
    if name in ("python", "ffmpeg"):
        with open(prefix + "/conda-meta/" + name + ".json", "w") as out:
            json.dump({{"name": name, "version": version.strip("=") or "1"}}, out)
"""
    )
    path.chmod(0o755)
    return path


def test_rattler_makes_a_working_environment(channel, tmp_path, four_times):
    prefix = tmp_path / "envs" / "sd"
    wish = {"prefix": str(prefix), "python": VERSION, "channels": [channel], "engine": "rattler"}
    _, applied = four_times("conda_env", **wish)
    assert applied["python_version"] == VERSION
    assert applied["packages"] == {"python": VERSION}
    assert [p.name for p in prefix.parent.iterdir()] == ["sd"]


def test_what_the_channel_does_not_have_is_said_and_can_be_tried_again(channel, tmp_path, run_module):
    wish = {"prefix": str(tmp_path / "env"), "channels": [channel], "engine": "rattler"}
    found = run_module("conda_env", **wish, python="2.1.0")
    assert found["failed"]
    assert "2.1.0" in found["msg"]
    assert run_module("conda_env", **wish, python=VERSION)["failed"] is False


def test_a_conda_on_the_box_is_used_with_our_channels_only(tmp_path, four_times):
    engine = fake_conda(tmp_path, "3.10.6")
    four_times("conda_env", prefix=str(tmp_path / "env"), python="3.10.6", packages=["ffmpeg"], engine=str(engine))
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    made = [call for call in calls if call[0] in ("install", "create")]
    assert len(made) == 1
    assert "--override-channels" in made[0]
    assert [word for word in made[0] if "python" in word or word == "ffmpeg"][-1] == "ffmpeg"


def test_an_environment_with_another_python_is_refused_and_kept(tmp_path, run_module):
    run_module("conda_env", prefix=str(tmp_path / "env"), python="3.10.6", engine=str(fake_conda(tmp_path, "3.10.6")))
    found = run_module("conda_env", prefix=str(tmp_path / "env"), python="3.11.1", engine=str(tmp_path / "conda"))
    assert found["failed"]
    assert "3.10.6" in found["msg"]
    assert "3.11.1" in found["msg"]
    assert (tmp_path / "env/bin/python").exists()


def test_somebody_elses_directory_is_refused(tmp_path, run_module):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "precious").write_text("x")
    found = run_module(
        "conda_env", prefix=str(tmp_path / "env"), python="3.10.6", engine=str(fake_conda(tmp_path, "3.10.6"))
    )
    assert found["failed"]
    assert (tmp_path / "env" / "precious").exists()


def test_an_unfinished_run_is_started_over(tmp_path, run_module):
    engine = str(fake_conda(tmp_path, "3.10.6", status=1))
    wish = {"prefix": str(tmp_path / "env"), "python": "3.10.6", "engine": engine}
    found = run_module("conda_env", **wish)
    assert found["failed"]
    assert "PackagesNotFoundError" in found["msg"]
    fake_conda(tmp_path, "3.10.6")
    assert run_module("conda_env", **wish)["failed"] is False


def test_a_missing_engine_is_named(tmp_path, run_module):
    found = run_module("conda_env", prefix=str(tmp_path / "env"), python="3.10.6", engine="/nowhere/conda")
    assert found["failed"]
    assert "/nowhere/conda" in found["msg"]
