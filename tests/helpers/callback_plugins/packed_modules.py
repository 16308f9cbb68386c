"""Keeps the modules that ansible-playbook has packed for later runs: packing takes a fifth of a run's CPU, and tests run it hundreds of times.

Ansible itself keeps them for one run, in a directory of its own. That becomes a link to one that belongs to this state of plugins/, and
to this Ansible and Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

ROOT = Path(__file__).resolve().parents[3]
COLLECTIONS = ROOT / ".work" / "collections"


def plugins_hash() -> str:
    state = [__version__, sys.version, constants.config.get_config_value("DEFAULT_MODULE_PATH")]
    for directory, _folders, names in sorted(os.walk(ROOT / "plugins")):
        for name in sorted(names):
            found = os.stat(os.path.join(directory, name))
            state.append((directory, name, found.st_mtime_ns, found.st_size))
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "packed_modules"

    def __init__(self) -> None:
        super().__init__()
        if [os.path.realpath(path) for path in constants.COLLECTIONS_PATHS] != [os.path.realpath(COLLECTIONS)]:
            return  # another copy of the collection
        kept = ROOT / ".work" / "cache" / "packed-modules" / plugins_hash()
        kept.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(kept, os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
