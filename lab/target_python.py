"""A target with another Python than Debian's: an interpreter of this machine, with the system's own hidden.

As processes, the target is this machine in a mount namespace of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

SYSTEM_DIRECTORIES = (Path("/usr/bin"), Path("/usr/local/bin"))
SYSTEM = [path for directory in SYSTEM_DIRECTORIES for path in sorted(directory.glob("python3*"))]
BECOME = """#!/bin/sh
# in the place of sudo: the command is what begins with the shell
while [ "$1" != /bin/sh ]; do shift; done
exec unshare -m {script} "$@"
"""


def find_interpreter(version: str) -> str:
    """A real interpreter of this version, such as "3.8"; "" where this machine has none."""
    name = f"python{version}"
    found = [*map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")), shutil.which(name) or ""]
    return next((p for p in found if p and subprocess.run([p, "-c", ""], capture_output=True).returncode == 0), "")


def can_hide_interpreters() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


def become_exe(directory: Path, python: str, without: tuple[str, ...] = ()) -> str:
    """A program for ``ansible_become_exe``. On the host that it leads to, /usr/bin/python3 is ``python``, or missing for "".

    The programs ``without`` are not there. $PATH and $HOME of the host are ``directory``/bin with the system's, and ``directory``/home.
    """
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    (directory / "home").mkdir(exist_ok=True)
    (directory / "nothing").touch()
    hidden = {path.resolve() for path in SYSTEM}
    main = Path("/usr/bin/python3").resolve()
    hidden |= {Path(path).resolve() for path in map(shutil.which, without) if path}
    lines = ["#!/bin/sh -e"]
    for path in sorted(hidden):
        source = python if python and path == main else directory / "nothing"
        lines.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(path))}")
    lines += [
        f"export HOME={shlex.quote(str(directory / 'home'))}",
        f"export PATH={shlex.quote(str(directory / 'bin'))}:/usr/sbin:/usr/bin:/sbin:/bin",
        "unset CONDA_PREFIX CONDA_EXE VIRTUAL_ENV PYTHONPATH",
        'exec "$@"',
    ]
    script = directory / "host"
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    become = directory / "sudo"
    become.write_text(BECOME.format(script=shlex.quote(str(script))))
    become.chmod(0o755)
    return str(become)


def inside(directory: Path, command: list[str]) -> list[str]:
    """The command on the host that become_exe made in ``directory``."""
    return ["unshare", "-m", str(directory / "host"), *command]
