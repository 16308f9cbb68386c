"""A conda channel with one real CPython in it, made from an interpreter that is at hand.

The interpreter lies complete below lib/lab-python, and the prefix itself is a virtual environment of it: so Debian's
patched Python, which would install elsewhere, behaves like conda's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PLACEHOLDER = "/opt/lab_prefix_placeholder_" + "_" * 80
SKIP = shutil.ignore_patterns(
    "test", "tests", "idlelib", "__pycache__", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages",
    "config-*", "*.a", "EXTERNALLY-MANAGED", "sitecustomize.py",
)  # fmt: skip
INDEX = "import asyncio, sys; from rattler.index import index_fs; asyncio.run(index_fs(sys.argv[1]))"


class Interpreter:
    """Where an interpreter's parts are. ``root`` is a file system tree (Debian's in a container image) or None for here."""

    def __init__(self, root: Path | None = None) -> None:
        if root is None:
            self.binary = Path(sys.executable).resolve()
            self.stdlib = Path(os.__file__).parent
            self.version = ".".join(map(str, sys.version_info[:3]))
            self.libraries = sorted(Path(sys.base_prefix, "lib").glob("libpython3*.so*"))
        else:
            self.binary = next(p for p in sorted((root / "usr/bin").glob("python3.*")) if re.fullmatch(r"python3\.\d+", p.name))
            self.stdlib = root / "usr/lib" / self.binary.name
            self.version = self._version_in(self.binary)
            self.libraries = []
        self.short = ".".join(self.version.split(".")[:2])

    @staticmethod
    def _version_in(binary: Path) -> str:
        """The full version, from the program's own bytes: it need not run on this machine."""
        short = binary.name[len("python") :].encode()
        versions = re.findall(rb"\b" + re.escape(short) + rb"\.\d+\b(?=\x00)", binary.read_bytes())
        return versions[0].decode()


def _stage(interpreter: Interpreter, stage: Path) -> None:
    home, short = stage / "lib/lab-python", interpreter.short
    (home / "bin").mkdir(parents=True)
    shutil.copy2(interpreter.binary, home / "bin" / f"python{short}")
    shutil.copytree(interpreter.stdlib, home / "lib" / f"python{short}", ignore=SKIP, ignore_dangling_symlinks=True)
    for library in interpreter.libraries:
        shutil.copy2(library, home / "lib" / library.name)
    packages = stage / "lib" / f"python{short}/site-packages"
    packages.mkdir(parents=True)
    (packages / "README.txt").write_text("Packages of the environment.\n")
    (stage / "pyvenv.cfg").write_text(
        f"home = {PLACEHOLDER}/lib/lab-python/bin\ninclude-system-site-packages = false\nversion = {interpreter.version}\n"
    )
    (stage / "bin").mkdir()
    for name in ("python", "python3", f"python{short}"):
        (stage / "bin" / name).symlink_to(f"../lib/lab-python/bin/python{short}")


def _describe(interpreter: Interpreter, stage: Path) -> list[str]:
    """Write info/; returns the package's files."""
    files, paths = [], []
    for path in sorted(stage.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = str(path.relative_to(stage))
        entry = {
            "_path": name,
            "path_type": "softlink" if path.is_symlink() else "hardlink",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_in_bytes": path.stat().st_size,
        }
        if name == "pyvenv.cfg":
            entry.update(prefix_placeholder=PLACEHOLDER, file_mode="text")
        files.append(name)
        paths.append(entry)
    index = {
        "name": "python",
        "version": interpreter.version,
        "build": "0_lab",
        "build_number": 0,
        "depends": [],
        "subdir": "linux-64",
        "arch": "x86_64",
        "platform": "linux",
        "license": "PSF-2.0",
        "timestamp": 1700000000000,
    }
    info = stage / "info"
    info.mkdir()
    (info / "index.json").write_text(json.dumps(index))
    (info / "paths.json").write_text(json.dumps({"paths": paths, "paths_version": 1}))
    (info / "files").write_text("\n".join(files) + "\n")
    (info / "about.json").write_text(json.dumps({"summary": "sdops lab: a real CPython, packaged by the lab"}))
    return files + [f"info/{n}" for n in ("index.json", "paths.json", "files", "about.json")]


def build(channel: Path, interpreter: Interpreter) -> Path:
    """Make (once) the package and the channel's index; returns the package's path. Raises RuntimeError."""
    from conda_package_handling import api

    package = channel / "linux-64" / f"python-{interpreter.version}-0_lab.conda"
    if package.exists() and (channel / "linux-64" / "repodata.json").exists():
        return package
    shutil.rmtree(channel, ignore_errors=True)
    for subdir in ("linux-64", "noarch"):
        (channel / subdir).mkdir(parents=True)
    stage = channel.parent / ".stage"
    shutil.rmtree(stage, ignore_errors=True)
    _stage(interpreter, stage)
    files = _describe(interpreter, stage)
    api.create(str(stage), files, package.name, str(package.parent))
    shutil.rmtree(stage)
    # judged by its result: the library may crash while its interpreter exits
    done = subprocess.run([sys.executable, "-c", INDEX, str(channel)], capture_output=True, text=True)
    if not (channel / "linux-64" / "repodata.json").exists():
        raise RuntimeError(f"the conda channel could not be indexed: {done.stderr[-500:]}")
    return package
