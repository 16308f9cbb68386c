# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps modules as Ansible has packed them, for later runs: ours, and Ansible's own.

Ansible packs a module with all that it imports when a run first needs it, a third of a second of CPU each: nearly half of what a first
run costs the controller. It keeps the file for the rest of the run, in a directory ``ansiballz_cache`` of the run's own.

The first run packs all of them beside its first tasks, which takes a third of that: a file that many modules import is parsed once.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jinja2
from ansible import constants
from ansible.executor import module_common
from ansible.plugins.loader import module_loader, module_utils_loader
from ansible.release import __version__ as core_version

from ..module_utils.errors import SdopsError
from ..module_utils.filesystem import is_private_directory, write_atomic

COLLECTION_DIR = Path(__file__).resolve().parents[2]
PACKED_PREFIX = "ansible_collections.sdops.webui.plugins.modules."
CORE_DIR = Path(constants.__file__).parent
CORE_PREFIX = "ansible.modules."  # one in a library/ beside a playbook has the prefix "ansible.legacy."
MAX_STATES = 4  # of the collection, of which packed modules are kept
RUN_KEYS: list[str] = []  # that of this run, where its packed modules are kept


def reuse_packed_modules() -> Path | None:
    """Hand over to this run what earlier ones have packed, and at its end to later ones what it has. For the main process, before it forks.

    Returns the directory where it is kept. Where that belongs to somebody else or cannot be written, None, and Ansible packs as ever.
    """
    key = plugins_key()
    run_dir, kept_dir = _run_dir(), _kept_dir(key)
    try:
        kept_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mode is that of the last one only
        kept_dir.mkdir(mode=0o700, exist_ok=True)
        if not is_private_directory(str(kept_dir)) or not is_private_directory(str(kept_dir.parent)):
            return None
        os.utime(kept_dir)
        run_dir.mkdir(exist_ok=True)
        for path in _packed_files(kept_dir):
            if not (run_dir / path.name).exists():
                shutil.copyfile(path, run_dir / path.name)
    except OSError:
        return None
    atexit.register(keep_packed_modules, run_dir, key)
    RUN_KEYS.append(key)
    return kept_dir


def pack_in_background(pack: Callable[[str], object]) -> None:
    """In a process of its own, pack all of our modules that are not kept yet: ``pack`` makes Ansible do it with a module's full name.

    For a worker, whose process is a copy of the main one: what is changed here is changed in the new process only.
    """
    run_dir = _run_dir()
    sources = sorted((COLLECTION_DIR / "plugins" / "modules").glob("*.py"))
    names = [path.stem for path in sources if "def main(" in path.read_text(encoding="utf-8")]
    missing = [name for name in names if not any(run_dir.glob(f"{PACKED_PREFIX}{name}-*"))]
    if not missing or not RUN_KEYS or os.fork() != 0:
        return
    try:
        os.nice(5)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):  # who reads the output of ansible-playbook does not wait for this process
            os.dup2(null, number)
        if hasattr(module_common, "_compile_module_ast"):
            module_common._compile_module_ast = functools.cache(module_common._compile_module_ast)
        with tempfile.TemporaryDirectory(prefix="sdops-packing-") as own_dir:
            constants.DEFAULT_LOCAL_TMP = own_dir
            for name in missing:
                pack(f"sdops.webui.{name}")
                _hand_over(run_dir, f"{PACKED_PREFIX}{name}-*")
            keep_packed_modules(_run_dir(), RUN_KEYS[0])
    finally:
        os._exit(0)  # whatever failed: each is packed when it is needed


def _hand_over(run_dir: Path, pattern: str) -> None:
    """Give the run what this process has packed, as long as the run has its directory."""
    for path in _run_dir().glob(pattern):
        if path.suffix != ".lock" and run_dir.is_dir() and not (run_dir / path.name).exists():
            unfinished = run_dir / f"{path.name}-part"
            shutil.copyfile(path, unfinished)
            os.replace(unfinished, run_dir / path.name)


def keep_packed_modules(run_dir: Path, key: str) -> None:
    """Copy what is new in ``run_dir``, unless what it is made of has changed meanwhile, and forget all but the newest states."""
    kept_dir = _kept_dir(key)
    try:
        if plugins_key() != key:
            return
        for path in _packed_files(run_dir):
            if not (kept_dir / path.name).exists():
                # durable: with a file of zeros every run would fail
                write_atomic(str(kept_dir / path.name), path.read_bytes(), 0o600)
        states = sorted(kept_dir.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for state in states[:-MAX_STATES]:
            shutil.rmtree(state, ignore_errors=True)
    except (OSError, SdopsError):
        pass


def _packed_files(directory: Path) -> list[Path]:
    """The packed modules in ``directory`` of which it is known what they are made of.

    Ansible calls a module after the end of its path, so one in somebody's own directory ansible/modules has the name of Ansible's.
    """
    core = str(CORE_DIR / "modules")
    folders = module_loader.print_paths().split(os.pathsep)
    alone = not any("/ansible/modules" in folder and not folder.startswith(core) for folder in folders)
    prefixes = (PACKED_PREFIX, CORE_PREFIX) if alone else (PACKED_PREFIX,)
    found = [path for path in directory.iterdir() if path.name.startswith(prefixes)]
    return [path for path in found if not path.name.endswith((".lock", "-part"))]


def _run_dir() -> Path:
    """Where Ansible has what it packs, for this run."""
    return Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")


def _kept_dir(key: str) -> Path:
    return Path(constants.config.get_config_value("ANSIBLE_HOME"), "sdops-cache", key)


def plugins_key() -> str:
    """Of all that is kept: Ansible, Jinja, Python, what users have put before Ansible's own files, and our files."""
    state: list[object] = [core_version, jinja2.__version__, sys.version]
    folders = [CORE_DIR / "module_utils", CORE_DIR / "modules"]
    folders += [COLLECTION_DIR / "plugins" / "modules", COLLECTION_DIR / "plugins" / "module_utils"]
    for folder in [*folders, *map(Path, module_utils_loader.print_paths().split(os.pathsep))]:
        for directory, _subdirectories, names in sorted(os.walk(folder)):
            for name in sorted(names):
                if name.endswith(".py"):
                    found = os.stat(os.path.join(directory, name))
                    state.append((directory, name, found.st_mtime_ns, found.st_size))
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]
