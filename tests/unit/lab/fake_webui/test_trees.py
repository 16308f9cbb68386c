"""The other fakes: what the manifest names, the package trees, torch and its relatives."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_webui import FAKES

MANIFEST = json.loads((FAKES / "manifest.json").read_text())
WHEELS = os.pathsep.join(str(FAKES / entry["source"]) for entry in MANIFEST["wheels"])
SMI = """#!/bin/sh
case "$1" in
*compute_cap*) {known}echo 'NVIDIA GeForce RTX 4090, 8.9, 24564, 24000'; echo 'Tesla V100-SXM2-32GB, 7.0, 32768, 30000';;
*) echo 'NVIDIA RTX A5000, 24564 MiB';;
esac
"""


def run(code: str, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    env = {**clean, "PYTHONPATH": WHEELS, "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run([sys.executable, *code.split("\n", 1)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("entry", MANIFEST["repositories"], ids=lambda entry: entry["repository"])
def test_every_repository_says_first_that_it_is_a_fake(entry):
    first = (FAKES / entry["source"] / "README.md").read_text().splitlines()[0]
    assert first.startswith("# sdops lab fake of ")


def test_the_dead_repository_is_dead_here_too():
    assert "Stability-AI/stablediffusion" not in [entry["repository"] for entry in MANIFEST["repositories"]]


@pytest.mark.parametrize("name", ["CLIP", "open_clip"])
def test_setup_of_zip_packages_needs_pkg_resources(name):
    tree = ast.parse((FAKES / "packages" / name / "setup.py").read_text())
    assert "pkg_resources" in [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]


def test_wheels_say_what_they_are_and_have_the_versions_of_the_manifest():
    for entry in MANIFEST["wheels"]:
        name = entry["name"]
        reported = run(f"-c\nimport {name}; print({name}.__version__, {name}.__fake__, 'fake' in {name}.__doc__)")
        version = {new: old for old, new in entry.get("replace", {}).items()}.get(entry["version"], entry["version"])
        assert reported == f"{version} True True"


def test_torch_queries_nvidia_smi(tmp_path: Path):
    smi = tmp_path / "nvidia-smi"
    query = "-c\nimport torch.cuda as c; print(c.is_available(), c.device_count(), c.get_device_name(), c.get_device_capability())"
    for known, reported in (
        ("", "True 2 NVIDIA GeForce RTX 4090 (8, 9)"),
        ("exit 1; ", "True 1 NVIDIA RTX A5000 (8, 6)"),
    ):
        smi.write_text(SMI.format(known=known))
        smi.chmod(0o755)
        assert run(query, SDOPS_NVIDIA_SMI=str(smi)) == reported
        assert run(query, SDOPS_NVIDIA_SMI="", PATH=f"{tmp_path}:{os.environ['PATH']}") == reported
    smi.write_text(SMI.format(known=""))
    assert run(query, SDOPS_NVIDIA_SMI=str(smi), CUDA_VISIBLE_DEVICES="1").startswith("True 1 Tesla V100")
    assert run("-c\nimport torch; print(torch.cuda.mem_get_info())", SDOPS_NVIDIA_SMI=str(smi)) == str(
        (24000 << 20, 24564 << 20)
    )
    code = "-c\nimport torch; print(torch.cuda.is_available(), torch.version.cuda)"
    assert run(code, SDOPS_NVIDIA_SMI="/nowhere") == "False 12.1"
    assert run(code, SDOPS_NVIDIA_SMI=str(smi), CUDA_VISIBLE_DEVICES="") == "False 12.1"


def test_xformers_info_is_a_table(tmp_path: Path):
    table = run("-m\nxformers.info", SDOPS_NVIDIA_SMI="/nowhere")
    lines = table.splitlines()
    assert lines[0] == "xFormers 0.0.23.post1" and "fake" in lines[1]
    rows = dict(line.split(":", 1) for line in lines[1:])
    assert rows["memory_efficient_attention.cutlassF"].strip() == "available"
    assert rows["build.torch_version"].strip() == "2.1.2+cu121" and rows["pytorch.cuda"].strip() == "not available"


def test_nothing_is_newer_than_python_38():
    for path in FAKES.rglob("*.py"):
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 8))
