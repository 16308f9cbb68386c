"""xformers_info as a process, on real environments with fake torch and xformers wheels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.module_process import run_module
from helpers.wheels import install, venv, wheel

A5000 = {"present": True, "gpus": [{"index": 0, "name": "NVIDIA RTX A5000", "capability": "8.6"}]}
RTX5090 = {"present": True, "gpus": [{"index": 0, "name": "NVIDIA GeForce RTX 5090", "capability": "12.0"}]}
NO_GPU = {"present": False, "reason": "nvidia-smi is not installed", "gpus": []}
# importing it costs seconds and gigabytes in real life: nobody may
HEAVY = "raise SystemExit('torch was imported')\n"


def torch(tmp_path: Path, version: str, version_py: str | None = None, init: str = HEAVY) -> Path:
    files = {"torch/__init__.py": init}
    if version_py is not None:
        files["torch/version.py"] = version_py
    return wheel(tmp_path / "links", "torch", version, files=files.items())


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment that reports Python 3.11, whatever the tests run on: newer ones have no wheel of xformers 0.0.23."""
    interpreter = venv(tmp_path / "env")
    [packages] = (tmp_path / "env").glob("lib/python3.*/site-packages")
    (packages / "sitecustomize.py").write_text("import platform\nplatform.python_version = lambda: '3.11.7'\n")
    return interpreter


def plan(python: Path, **arguments) -> dict:
    checked = run_module("xformers_info", check=True, python=str(python), **arguments)
    result = run_module("xformers_info", python=str(python), **arguments)
    assert result == checked and result["changed"] is False
    return result


def test_label_names_the_cuda(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2+cu121"))
    for gpu in (A5000, NO_GPU, {}):
        result = plan(python, gpu=gpu)
        assert result["decision"] == "wheel" and result["requirement"] == "xformers==0.0.23.post1"
        assert result["index_hint"] is None
        assert (result["torch"], result["cuda"], result["xformers_installed"]) == ("2.1.2+cu121", "12.1", None)
        assert result["python_version"] == "3.11.7"
    result = plan(python, gpu=RTX5090)
    assert result["decision"] == "unsupported" and "cu128" in result["reason"]


def test_no_label_no_import(tmp_path: Path, python: Path) -> None:
    """The package index's torch says its CUDA in torch/version.py only."""
    body = "from typing import Optional\n__version__ = '2.1.2+cu121'\ncuda: Optional[str] = '12.1'\nhip: Optional[str] = None\n"
    install(python, torch(tmp_path, "2.1.2", body))
    assert plan(python)["cuda"] == "12.1"


def test_no_label_import_as_a_last_resort(tmp_path: Path, python: Path) -> None:
    init = "import types\nversion = types.SimpleNamespace(cuda='11.8', hip=None)\n"
    install(python, torch(tmp_path, "2.1.2", None, init))
    result = plan(python)
    assert result["cuda"] == "11.8" and result["index_hint"].endswith("/cu118")


def test_broken_torch_is_not_taken_for_a_cpu_build(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2"))
    result = plan(python)
    assert result["decision"] == "unknown" and "torch was imported" in result["reason"]


def test_cpu_and_amd(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2+cpu"))
    assert plan(python, gpu=A5000)["decision"] == "skip"
    install(python, torch(tmp_path, "2.1.2", "cuda = None\nhip = None\n"), "--reinstall")
    assert plan(python, gpu=A5000)["decision"] == "skip"
    install(python, torch(tmp_path, "2.1.2+rocm5.6", "cuda = None\nhip = '5.6'\n"), "--reinstall")
    assert "AMD" in plan(python)["reason"]


def test_installed_xformers(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2+cu121"), "--no-deps")
    install(python, "--no-deps", wheel(tmp_path / "links", "xformers", "0.0.23.post1", "numpy", "torch==2.1.2"))
    result = plan(python, gpu=A5000)
    assert result["decision"] == "none_needed" and result["xformers_installed"] == "0.0.23.post1"
    install(python, "--no-deps", "--reinstall", wheel(tmp_path / "links", "xformers", "0.0.20", "torch==2.0.1"))
    assert plan(python, gpu=A5000)["decision"] == "wheel"
    assert plan(python, gpu=A5000, version="0.0.20")["decision"] == "build"


def test_no_torch_and_no_environment(tmp_path: Path, python: Path) -> None:
    result = plan(python)
    assert result["decision"] == "unknown" and "sd_webui" in result["reason"]
    nowhere = str(tmp_path / "no" / "python")
    checked = run_module("xformers_info", check=True, python=nowhere)
    assert checked["decision"] == "unknown" and nowhere in checked["reason"]
    assert run_module("xformers_info", python=nowhere)["failed"]


def test_the_record_of_an_installation(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2+cu121"), "--no-deps")
    install(python, "--no-deps", wheel(tmp_path / "links", "xformers", "0.0.23.post1", "torch==2.1.2"))
    record = tmp_path / "xformers.json"
    build_info = {"version": "0.0.23.post1", "torch": "2.1.2", "cuda": "11.8", "capabilities": [], "origin": "index"}
    for content, decision in (
        (json.dumps(build_info), "wheel"),
        (json.dumps({**build_info, "cuda": "12.1"}), "none_needed"),
        (json.dumps({**build_info, "cuda": "12.1", "capabilities": ["9.0"]}), "wheel"),
        ("{half of", "none_needed"),
        ("[]", "none_needed"),
    ):
        record.write_text(content)
        assert plan(python, gpu=A5000, state_file=str(record))["decision"] == decision, content
    assert plan(python, gpu=A5000, state_file=str(tmp_path / "nowhere"))["decision"] == "none_needed"


def test_the_index_follows_the_mirror(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.7.0+cu128"))
    result = plan(python, gpu=RTX5090, index_base="https://mirror.example.org/whl")
    assert result["index_hint"] == "https://mirror.example.org/whl/cu128"


def test_interrupted_installation_counts_as_not_installed(tmp_path: Path, python: Path) -> None:
    install(python, torch(tmp_path, "2.1.2+cu121"), "--no-deps")
    install(python, "--no-deps", wheel(tmp_path / "links", "xformers", "0.0.23.post1", "torch==2.1.2"))
    for name, decision in (("xformers", "wheel"), ("torch", "unknown")):
        [info] = python.parents[1].rglob(name + "-*.dist-info")
        (info / "INSTALLER").unlink()
        assert plan(python, gpu=A5000)["decision"] == decision
