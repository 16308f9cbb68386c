"""An environment with a fake torch and real build tools, and the lab's C++ fake of xformers as an sdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.module_process import clean_environment
from helpers.wheels import install, venv, wheel

from lab.servers.build import FAKES, Builder
from lab.servers.build.wheels import build_sdists

TORCH = "__version__ = '2.1.2+cu121'\n"
TOOLS = ("pip==24.0", "setuptools==69.5.1", "wheel==0.45.1", "ninja==1.11.1.1")


@pytest.fixture(scope="session")
def sdists(tmp_path_factory) -> Path:
    """A directory with xformers-0.0.23.post1.tar.gz."""
    builder = Builder(tmp_path_factory.mktemp("sdists"))
    (builder.content / "wheels").mkdir()
    build_sdists(
        builder,
        [{"sources": ["sdists/xformers", "wheels/xformers"], "name": "xformers", "version": "0.0.23.post1"}],
        FAKES,
    )
    return builder.content / "wheels"


@pytest.fixture(scope="session")
def tools(tmp_path_factory) -> Path:
    """Interpreter of an environment with torch 2.1.2+cu121 (not the real one), pip, setuptools, wheel and ninja."""
    base = tmp_path_factory.mktemp("tools")
    python = venv(base / "env")
    # by pip, which knows this machine's package index
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--upgrade", *TOOLS]
    subprocess.run(command, check=True)
    files = {"torch/__init__.py": TORCH, "torch/version.py": TORCH + "cuda = '12.1'\nhip = None\n"}
    install(python, wheel(base / "links", "torch", "2.1.2+cu121", files=files.items()))
    return python


@pytest.fixture
def compiler(tmp_path) -> Path:
    """A compiler that notes each object it makes (``.log`` beside it), and waits there while ``.hold-NAME`` exists."""
    path = tmp_path / "c++-noted"
    path.write_text(
        "#!/bin/sh\n"
        'for a in "$@"; do case $a in *.cpp) n=$(basename "$a" .cpp); echo "$n" >> "$0.log";'
        ' while [ -e "$0.hold-$n" ]; do sleep 0.1; done;; esac; done\n'
        'exec g++ "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def nvcc(tmp_path):
    """A directory that looks like a CUDA toolkit of the given version."""

    def make(version: str = "12.1") -> Path:
        home = tmp_path / f"cuda-{version}"
        (home / "bin").mkdir(parents=True)
        program = home / "bin" / "nvcc"
        program.write_text(f'#!/bin/sh\necho "Cuda compilation tools, release {version}, V{version}.105"\n')
        program.chmod(0o755)
        return home

    return make


@pytest.fixture
def env(compiler, sdists) -> dict[str, str]:
    saved = clean_environment()
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "CXX": str(compiler),
        "PIP_FIND_LINKS": str(sdists),
        "PIP_NO_INDEX": "1",
        "HOME": saved.get("HOME", "/root"),
    }
