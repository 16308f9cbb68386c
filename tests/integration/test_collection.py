"""The tarball holds the collection and nothing of the workshop, and a playbook can use it once installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN, ROOT


@pytest.fixture(scope="module")
def tarball(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # a clean checkout: what is built must not depend on what lies about in the working tree
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        env=ansible_environment(),
    )
    return next(out.glob("sdops-webui-*.tar.gz"))


def test_tarball_has_no_workshop(tarball):
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    tops = {name.split("/")[0] for name in names}
    assert not tops & {
        "lab",
        "tests",
        "molecule",
        "Makefile",
        ".work",
        ".git",
        ".ci",
        ".github",
        ".editorconfig",
        ".pre-commit-config.yaml",
        "artifacts",
        "requirements",
        "tools",
    }
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
    assert {"plugins", "roles", "playbooks", "meta", "docs", "README.md", "LICENSE"} <= tops


def test_installed_collection_runs_a_playbook(tarball, tmp_path):
    collections = tmp_path / "collections"
    environment = ansible_environment(collections)
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "install", str(tarball), "-p", str(collections)],
        check=True,
        capture_output=True,
        env=environment,
        cwd=tmp_path,
    )
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [
                {"name": "Look", "sdops.webui.gpu_facts": {"nvidia_smi": "/nonexistent/nvidia-smi"}, "register": "gpu"},
                {"name": "Tell", "ansible.builtin.assert": {"that": "not gpu.ansible_facts.sdops_gpu.present"}},
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}"]
    for arguments in (["play.yml"], ["--syntax-check", "sdops.webui.site"], ["--syntax-check", "sdops.webui.status"]):
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
