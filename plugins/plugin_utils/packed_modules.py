# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps our modules as Ansible has packed them, for later runs.

Ansible packs a module with all that it imports when a run first needs it, a third of a second of CPU each: nearly half of what a first
run costs the controller. It keeps the file for the rest of the run, in a directory ``ansiballz_cache`` of the run's own.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
from pathlib import Path

from ansible import constants
from ansible.release import __version__ as core_version

from ..module_utils.errors import SdopsError
from ..module_utils.filesystem import is_private_directory, write_atomic

COLLECTION_DIR = Path(__file__).resolve().parents[2]
# only ours: what a file of another name is made of is not known here
PACKED_PREFIX = "ansible_collections.sdops.webui.plugins.modules."
MAX_STATES = 4  # of the collection, of which packed modules are kept


def reuse_packed_modules() -> None:
    """Hand over to this run what earlier ones have packed, and at its end to later ones what it has. For the main process, before it forks.

    Where the directory belongs to somebody else or cannot be written, Ansible packs as ever.
    """
    run_dir = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
    kept_dir = Path(constants.config.get_config_value("ANSIBLE_HOME"), "sdops-packed-modules", plugins_key())
    try:
        kept_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mode is that of the last one only
        kept_dir.mkdir(mode=0o700, exist_ok=True)
        if not is_private_directory(str(kept_dir)) or not is_private_directory(str(kept_dir.parent)):
            return
        os.utime(kept_dir)
        run_dir.mkdir(exist_ok=True)
        for path in kept_dir.glob(PACKED_PREFIX + "*"):
            if not (run_dir / path.name).exists():
                shutil.copyfile(path, run_dir / path.name)
    except OSError:
        return
    atexit.register(keep_packed_modules, run_dir, kept_dir)


def keep_packed_modules(run_dir: Path, kept_dir: Path) -> None:
    """Copy what is new in ``run_dir``, and forget all but the newest states of the collection."""
    try:
        for path in run_dir.glob(PACKED_PREFIX + "*"):
            if not path.name.endswith((".lock", "-part")) and not (kept_dir / path.name).exists():
                # durable: with a file of zeros every run would fail
                write_atomic(str(kept_dir / path.name), path.read_bytes(), 0o600)
        states = sorted(kept_dir.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for state in states[:-MAX_STATES]:
            shutil.rmtree(state, ignore_errors=True)
    except (OSError, SdopsError):
        pass


def plugins_key() -> str:
    """Of all that a packed module is made of: Ansible, Python, what users have put before Ansible's own files, and our files."""
    state: list[object] = [core_version, sys.version]
    core_utilities = Path(constants.__file__).with_name("module_utils")
    folders = [core_utilities, COLLECTION_DIR / "plugins" / "modules", COLLECTION_DIR / "plugins" / "module_utils"]
    for folder in [*folders, *map(Path, constants.config.get_config_value("DEFAULT_MODULE_UTILS_PATH"))]:
        for directory, _subdirectories, names in sorted(os.walk(folder)):
            for name in sorted(names):
                if name.endswith(".py"):
                    found = os.stat(os.path.join(directory, name))
                    state.append((directory, name, found.st_mtime_ns, found.st_size))
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]
