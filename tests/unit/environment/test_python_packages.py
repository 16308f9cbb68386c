"""python_packages with real uv, real virtual environments and tiny wheels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UV = Path(sys.executable).parent / "uv"


def wheel(directory: Path, name: str, version: str, *requires: str) -> Path:
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(f"{name}.py", f"version = {version!r}\n")
        out.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def links(tmp_path) -> Path:
    directory = tmp_path / "links"
    directory.mkdir()
    for version in ("1.0", "2.0"):
        wheel(directory, "torchlike", version)
    wheel(directory, "greedy", "1.0", "torchlike==2.0")
    wheel(directory, "modest", "1.0", "torchlike")
    return directory


@pytest.fixture
def shared(tmp_path, links, monkeypatch) -> dict:
    """An environment and the arguments that all calls share; nothing outside is asked."""
    monkeypatch.setenv("UV_NO_INDEX", "1")
    subprocess.run([UV, "venv", "-q", str(tmp_path / "env")], check=True)
    return {
        "python": str(tmp_path / "env" / "bin" / "python"),
        "find_links": [str(links)],
        "uv": str(UV),
        "cache_dir": str(tmp_path / "cache"),
    }


def test_install_and_nothing_to_do_after(shared, four_times):
    planned, applied = four_times("python_packages", **shared, packages=["torchlike==1.0"])
    assert planned["changes"] == applied["changes"] == [{"name": "torchlike", "before": None, "after": "1.0"}]


def test_no_uv_and_no_network_when_all_is_met(shared, run_module):
    run_module("python_packages", **shared, packages=["modest"])
    again = run_module("python_packages", **{**shared, "find_links": []}, packages=["modest==1.0", "torchlike>=1"])
    assert (again["failed"], again["changed"], again["unmet"]) == (False, False, [])


def test_requirements_files_with_markers_comments_and_constraints(shared, tmp_path, four_times):
    (tmp_path / "req.txt").write_text('# nothing\n-r more.txt\nmodest  # yes\nnowhere==1; python_version < "3"\n')
    (tmp_path / "more.txt").write_text("torchlike\n")
    (tmp_path / "con.txt").write_text("torchlike==1.0\n")
    files = {"requirements": [str(tmp_path / "req.txt")], "constraints": [str(tmp_path / "con.txt")]}
    _, applied = four_times("python_packages", **shared, **files)
    assert {c["name"]: c["after"] for c in applied["changes"]} == {"modest": "1.0", "torchlike": "1.0"}


def test_a_protected_version_is_put_back_and_named(shared, run_module):
    run_module("python_packages", **shared, packages=["torchlike==1.0"])
    found = run_module("python_packages", **shared, packages=["greedy"], protect=["torchlike"])
    assert found["failed"]
    assert "torchlike from 1.0 to 2.0" in found["msg"]
    now = run_module("python_packages", **shared, packages=["torchlike==1.0"])
    assert now["changed"] is False


def test_direct_urls_count_as_met_once_they_are_installed(shared, links, four_times):
    url = (links / "modest-1.0-py3-none-any.whl").as_uri()
    four_times("python_packages", **shared, packages=[f"modest @ {url}"], no_deps=True)


def test_what_cannot_be_installed_is_said(shared, run_module):
    found = run_module("python_packages", **shared, packages=["nosuchthing==9"])
    assert found["failed"]
    assert "nosuchthing" in found["msg"]


def test_bare_host_in_check_mode(tmp_path, run_module):
    found = run_module("python_packages", check=True, python=str(tmp_path / "no/bin/python"), packages=["x==1"])
    assert (found["failed"], found["changed"], found["actions"]) == (False, True, ["install x==1"])
