"""The toolbox's lock. Oracles: uv, which resolves it for every Python and machine, and pip, which installs it on targets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.python_env.toolbox import TOOLBOX_SCRIPT, parse_pins
from helpers.paths import ROOT

FILES = ROOT / "roles" / "base" / "files"
LOCK = FILES / "toolbox-requirements.txt"
UV = Path(sys.executable).parent / "uv"


def run(*command: object, **more) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **more)


def test_it_is_what_make_lock_writes(tmp_path: Path) -> None:
    for name in ("toolbox-requirements.in", LOCK.name):
        shutil.copy(FILES / name, tmp_path)
    command = re.search(r"uv (pip compile .*?-o \S+)", (ROOT / "Makefile").read_text(), re.S).group(1)
    words = command.replace("\\\n", " ").replace("'make lock'", "make+lock").split()
    done = run(UV, *(word.replace("make+lock", "make lock") for word in words), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / LOCK.name).read_text() == LOCK.read_text()


def test_every_pin_has_hashes_and_no_address_is_in_it() -> None:
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK.read_text())[1:]
    assert len(blocks) == len(parse_pins(LOCK.read_text())) > 8
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in LOCK.read_text()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_it_is_complete(tmp_path: Path, python: str, machine: str) -> None:
    """With hashes demanded, a package that the lock lacks is an error; and all of it comes as wheels."""
    options = ["--dry-run", "--require-hashes", "--only-binary", ":all:", "--python-version", python]
    options += ["--python-platform", f"{machine}-manylinux_2_28", "--target", tmp_path / "t", "-r", LOCK]
    done = run(UV, "pip", "install", *options)
    assert done.returncode == 0, done.stderr
    for name in ("requests", "packaging", "pyyaml", "supervisor", "uv", "py-rattler"):
        assert re.search(rf"(?m)^ \+ {name}==", done.stdout + done.stderr), name


def test_another_file_of_the_same_name_is_rejected(tmp_path: Path) -> None:
    block = next(b for b in re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK.read_text()) if b.startswith("packaging=="))
    for lock, good in ((block, True), (re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, block), False)):
        (tmp_path / "lock.txt").write_text(lock)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "-d", tmp_path / "got"]
        done = run(*pip, "-r", tmp_path / "lock.txt")
        assert (done.returncode == 0) == good, done.stderr
        assert good or "DO NOT MATCH THE HASHES" in done.stderr


def test_what_is_missing_is_reported_by_this_python() -> None:
    def missing(lines: list[str]) -> list[str]:
        done = run(sys.executable, "-I", "-c", TOOLBOX_SCRIPT, input=json.dumps([[3, 8], *lines]))
        return [line for line, _, _ in json.loads(done.stdout)]

    found = missing(parse_pins(LOCK.read_text()))
    assert not [line for line in found if "python_full_version <" in line], "a marker that does not hold here"
    requested = [
        "packaging==1.0",
        "nothing-of-that-name==1 ; python_full_version >= '3.9'",
        "other==1 ; python_version < '3'",
    ]
    assert missing(requested) == requested[:2]
