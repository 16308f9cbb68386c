"""A conda channel with one real CPython, repackaged from this machine or from a root filesystem.

The package keeps the interpreter's own tree at lib/lab-python and makes the prefix a virtual environment of it (pyvenv.cfg,
whose path the installer rewrites). So an interpreter with distribution patches behaves like conda's: sys.prefix is the
environment and packages land in lib/pythonX.Y/site-packages. Shared libraries are not packaged: where it is installed, those
that the interpreter was linked with must be there (on Debian the dependencies of python3).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import EPOCH, Builder, BuildError, fingerprint, sha256_of

BUILD = "0_lab"
PLACEHOLDER = "/sdops/lab/placeholder/of/the/environment/prefix"
TREE = "lib/lab-python"
# parts of the standard library that no environment of the lab needs, and what belongs to the machine it comes from
SKIP = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "__pycache__",
        "EXTERNALLY-MANAGED",
        "ensurepip",
        "lib2to3",
    ]
)
PROBE = """
import json, os, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "program": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "stdlib": os.path.realpath(os.path.dirname(os.__file__)),
    "dynload": [path for path in sys.path if os.path.basename(path) == "lib-dynload"],
}))
"""
INDEX = "import asyncio, sys; from rattler.index import index_fs; asyncio.run(index_fs(sys.argv[1], force=True))"


@dataclass
class Interpreter:
    """A CPython to package: its version ("3.11.2"), its program and the directory of its standard library."""

    version: str
    program: Path
    stdlib: Path
    dynload: Path

    @property
    def short(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @classmethod
    def of_program(cls, program: str) -> Interpreter:
        """The interpreter behind a program on this machine (behind a virtual environment: the one it was made from)."""
        try:
            done = subprocess.run([program, "-I", "-c", PROBE], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise BuildError(f"The interpreter {program} does not run: {exc}") from exc
        facts = json.loads(done.stdout)
        stdlib = Path(facts["stdlib"])
        dynload = Path(facts["dynload"][0]) if facts["dynload"] else stdlib / "lib-dynload"
        return cls(facts["version"], Path(facts["program"]), stdlib, dynload)

    @classmethod
    def of_root(cls, root: Path) -> Interpreter:
        """The newest python3.X of an unpacked root filesystem. It is not run: its libraries may not be this machine's."""
        programs = [path for path in (root / "usr/bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", path.name)]
        for program in sorted(programs, key=lambda path: int(path.name.split(".")[1]), reverse=True):
            stdlib = root / "usr/lib" / program.name
            if not (stdlib / "os.py").is_file():
                continue
            short = program.name[len("python") :]
            found = set(re.findall(rb"\0(" + re.escape(short).encode() + rb"\.\d+)\+?\0", program.read_bytes()))
            if len(found) == 1:
                return cls(found.pop().decode(), program, stdlib, stdlib / "lib-dynload")
        raise BuildError(f"There is no Python in {root}: usr/bin/python3.X and usr/lib/python3.X are needed.")


def build(builder: Builder, interpreter: Interpreter) -> dict[str, Any]:
    """content/conda/conda-forge with linux-64/python-VERSION-0_lab.conda and its index."""
    channel = builder.content / "conda" / "conda-forge"
    package = channel / "linux-64" / f"python-{interpreter.version}-{BUILD}.conda"

    def make() -> dict[str, Any]:
        shutil.rmtree(channel, ignore_errors=True)
        for subdir in ("linux-64", "noarch"):
            (channel / subdir).mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=builder.work) as scratch:
            stage = Path(scratch) / "stage"
            _stage(interpreter, stage)
            _pack(stage, package, interpreter)
        _index(channel, package)
        return {
            "python": interpreter.version,
            "package": str(package),
            "sha256": sha256_of(package),
            "size": package.stat().st_size,
        }

    stamp = fingerprint(interpreter.version, interpreter.program, str(interpreter.stdlib), Path(__file__))
    return builder.part("conda", stamp, [package, channel / "linux-64" / "repodata.json"], make)


def build_tarball(builder: Builder, interpreter: Interpreter) -> dict[str, Any]:
    """content/releases/python/cpython-MACHINE.tar.gz: the same interpreter as python-build-standalone packs it, for hosts without one."""
    archive = builder.content / "releases" / "python" / f"cpython-{platform.machine()}.tar.gz"

    def make() -> dict[str, Any]:
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_name(archive.name + ".part")
        with tempfile.TemporaryDirectory(dir=builder.work) as scratch:
            # the toolbox is a virtual environment with a pip
            _copy_interpreter(interpreter, Path(scratch) / "python", SKIP - {"ensurepip"})
            with tarfile.open(part, "w:gz", compresslevel=1) as tarball:
                tarball.add(Path(scratch) / "python", "python")
        part.replace(archive)
        return {"name": archive.name, "machine": platform.machine(), "sha256": sha256_of(archive)}

    stamp = fingerprint(interpreter.version, interpreter.program, str(interpreter.stdlib), Path(__file__))
    return builder.part("tarball", stamp, [archive], make)


def _stage(interpreter: Interpreter, stage: Path) -> None:
    """The prefix as it will be after installation."""
    name = f"python{interpreter.short}"
    _copy_interpreter(interpreter, stage / TREE, SKIP)
    bin_dir = stage / "bin"
    bin_dir.mkdir()
    for link in ("python", "python3", name):
        (bin_dir / link).symlink_to(f"../{TREE}/bin/{name}")
    lines = {
        "home": f"{PLACEHOLDER}/{TREE}/bin",
        "include-system-site-packages": "false",
        "version": interpreter.version,
        "lab": "fake of a conda package around a real CPython",
    }
    (stage / "pyvenv.cfg").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    packages = stage / "lib" / name / "site-packages"
    packages.mkdir(parents=True)
    (packages / "README.txt").write_text(
        "This environment comes from the sdops.webui lab; its CPython is a real one.\n"
    )


def _copy_interpreter(interpreter: Interpreter, tree: Path, skipped: frozenset[str]) -> None:
    name = f"python{interpreter.short}"
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(interpreter.program.resolve(), tree / "bin" / name)
    (tree / "bin" / name).chmod(0o755)
    library = tree / "lib" / name
    _copy_library(interpreter.stdlib, library, skipped)
    if interpreter.dynload.resolve() != (interpreter.stdlib / "lib-dynload").resolve():
        _copy_library(interpreter.dynload, library / "lib-dynload", skipped)
    for link in ("python", "python3"):
        (tree / "bin" / link).symlink_to(name)


def _copy_library(source: Path, target: Path, skipped: frozenset[str]) -> None:
    """The standard library, links resolved, without what is skipped; links that lead nowhere are left out."""

    def skip(folder: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name in skipped
            or name.startswith(("config-", "_tkinter."))
            or name.endswith((".pyc", ".a"))
            or not os.path.exists(os.path.join(folder, name))
        }

    shutil.copytree(source, target, ignore=skip, dirs_exist_ok=True)


def _pack(stage: Path, package: Path, interpreter: Interpreter) -> None:
    """info/ next to the files, then the .conda archive."""
    from conda_package_handling.conda_fmt import CondaFormat_v2

    files, paths = [], []
    for path in sorted(stage.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(stage).as_posix()
        if not path.is_symlink():
            os.utime(path, (EPOCH, EPOCH))
        entry: dict[str, Any] = {
            "_path": name,
            "path_type": "softlink" if path.is_symlink() else "hardlink",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_in_bytes": path.stat().st_size,
        }
        if name == "pyvenv.cfg":
            entry.update(prefix_placeholder=PLACEHOLDER, file_mode="text")
        files.append(name)
        paths.append(entry)
    info = stage / "info"
    info.mkdir()
    index = {
        "name": "python",
        "version": interpreter.version,
        "build": BUILD,
        "build_number": 0,
        "depends": [],
        "subdir": "linux-64",
        "arch": "x86_64",
        "platform": "linux",
        "license": "PSF-2.0",
        "timestamp": EPOCH * 1000,
        "python_site_packages_path": f"lib/python{interpreter.short}/site-packages",
    }
    about = {"summary": "A real CPython, repackaged by the sdops.webui lab: a fake of conda-forge's python"}
    contents = {
        "index.json": json.dumps(index, indent=1),
        "paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "about.json": json.dumps(about),
        "files": "\n".join(files) + "\n",
        "has_prefix": f"{PLACEHOLDER} text pyvenv.cfg\n",
    }
    for name, text in contents.items():
        (info / name).write_text(text, encoding="utf-8")
        os.utime(info / name, (EPOCH, EPOCH))
    members = [*files, *(f"info/{name}" for name in contents)]
    # level 19, the default, takes half a minute here for a sixth less
    CondaFormat_v2.create(
        str(stage), members, package.name, str(package.parent), compression_level=6, compression_threads=-1
    )


def _index(channel: Path, package: Path) -> None:
    """repodata.json. In a child process, of which only the result counts: py-rattler sometimes crashes when its interpreter ends."""
    done = subprocess.run([sys.executable, "-c", INDEX, str(channel)], capture_output=True, text=True)
    try:
        listed = json.loads((channel / "linux-64" / "repodata.json").read_text(encoding="utf-8"))["packages.conda"]
    except (OSError, ValueError, KeyError):
        listed = {}
    if package.name not in listed or not (channel / "noarch" / "repodata.json").exists():
        raise BuildError(
            f"The conda channel could not be indexed (exit {done.returncode}): {done.stderr.strip()[-600:]}"
        )
