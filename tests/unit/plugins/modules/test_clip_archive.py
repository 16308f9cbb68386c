"""CLIP's zip is GitHub's, recreated when it is asked for: only one with the role's hash is let run. Oracles: the real uv and pip."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import webui_version_values
from helpers.module_process import clean_environment, run_module
from helpers.paths import ROOT
from helpers.wheels import FileServer, venv

ROLE = ROOT / "roles" / "sd_webui"
PINNED = webui_version_values("1.10.1", "{{ sdops_github }}")["clip_package"]
# a build backend in the source itself, as setup.py is code of the source
BACKEND = """
import pathlib, zipfile
pathlib.Path({mark!r}).write_text("ran")

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "clip-1.0-py3-none-any.whl"
    files = {{
        "clip.py": "",
        "clip-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: clip\\nVersion: 1.0\\n",
        "clip-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "clip-1.0.dist-info/RECORD": "",
    }}
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


class Archive:
    """The zip at the place of GitHub's, on loopback. ``mark`` appears when anything of it runs."""

    def __init__(self, base: Path) -> None:
        self.mark = base / "ran"
        self.path = base / "www" / re.search("openai/CLIP/[^#]*", PINNED)[0]
        self.path.parent.mkdir(parents=True)
        self.url = FileServer(base / "www").url

    def write(self, more: str = "") -> str:
        """Make it, and return its SHA-256."""
        top = "CLIP-" + self.path.stem
        with zipfile.ZipFile(self.path, "w") as bundle:
            system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            bundle.writestr(f"{top}/pyproject.toml", system)
            bundle.writestr(f"{top}/backend.py", BACKEND.format(mark=str(self.mark)) + more)
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def requirement(archive: Archive, sha256: str) -> str:
    """What the role's own task installs, with this server for GitHub, and the hash of our zip for that of the real one."""
    packages = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__sd_webui_clip_packages"]
    package, fragments = re.subn("(?<=#sha256=)[0-9a-f]{64}$", sha256, PINNED)
    assert fragments == 1, "the role's own CLIP has no SHA-256"
    variables = {"sd_webui_clip_package": trust_as_template(package), "sdops_github": archive.url}
    text = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(packages[0]))
    assert text == f"clip @ {archive.url}/{archive.path.relative_to(archive.path.parents[3])}#sha256={sha256}"
    return text


def by_uv(tmp_path: Path, expected: str) -> str:
    """Why the module of the role failed, "" when it did not."""
    done = run_module(
        "python_packages", env={"UV_CACHE_DIR": str(tmp_path / "cache")}, python=str(venv(tmp_path / "env")),
        packages=[expected], no_build_isolation=True,
    )  # fmt: skip
    return done["msg"] if done.get("failed") else ""


def by_pip(tmp_path: Path, expected: str) -> str:
    words = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-cache-dir",
        "--wheel-dir",
        tmp_path / "wheels",
        expected,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, env=clean_environment()
    )
    return done.stderr + done.stdout if done.returncode else ""


@pytest.mark.parametrize("install", [by_uv, by_pip])
def test_a_changed_zip_is_rejected_before_anything_of_it_runs(tmp_path: Path, archive: Archive, install) -> None:
    expected = requirement(archive, archive.write())
    archive.write("# of a mirror\n")
    output = install(tmp_path, expected)
    assert "hash" in output.lower(), output
    assert not archive.mark.exists()


@pytest.mark.parametrize("install", [by_uv, by_pip])
def test_the_right_zip_is_installed(tmp_path: Path, archive: Archive, install) -> None:
    assert install(tmp_path, requirement(archive, archive.write())) == ""
    assert archive.mark.exists(), "else the other test would prove nothing"
