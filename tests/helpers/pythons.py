"""The Pythons of targets that are on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ansible.module_utils.basic import _PY_MIN


def other_pythons() -> list[str]:
    """The oldest Python of this ansible-core and newer ones that are here: by $PATH, or as pyenv keeps them."""
    found = {}
    for minor in (each for each in (8, 9, 10, 12, 13) if (3, each) >= _PY_MIN):
        name = f"python3.{minor}"
        for path in [shutil.which(name), *map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))]:
            works = path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
            if works:
                found[name] = path
    return list(found.values())
