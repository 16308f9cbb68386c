# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a host that the roles decide from, read in one go.

Standard library only: it runs before there is a toolbox, on the host's own Python. Nothing here changes the host or raises: what
cannot be read is reported as absent.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Mapping

from .convergence import compare_record
from .errors import SdopsError
from .filesystem import nearest_directory, read_regular
from .gpu.smi import read_gpu_facts
from .models.layout import find_models
from .process import run
from .procfs import unmanaged_port_owners
from .program_check import find_broken_program
from .python_env.pip_config import effective_setting, read_pip_config
from .python_env.toolbox import Toolbox, host_python
from .supervisor.client import Supervisor
from .transfer.disk_space import free_bytes

MAX_CONTENT = 1 << 20  # bytes of a file whose content is read
COMMAND_LIMIT = 60  # seconds
SIMILAR_DIRECTORY = 0.8  # least similarity (difflib) of names of directories that are mistaken for each other


def read_host_state(request: Mapping[str, Any]) -> dict[str, Any]:
    """``{name of a part: its state}`` for the options of the module host_state_info that ``request`` has.

    ``minimum_version`` in it is the oldest Python that a usable toolbox may have.

    Parts that start programs (the toolbox's Python, nvidia-smi, dpkg-query) run at the same time.
    """
    requested = {part: reader for part, (option, reader) in READERS.items() if request.get(option)}
    with ThreadPoolExecutor(max_workers=len(requested) or 1) as pool:
        running = {part: pool.submit(reader, request) for part, reader in requested.items()}
    return {part: future.result() for part, future in running.items()}


def read_toolbox_state(path: str, minimum_version: tuple[int, int] = (3, 8)) -> dict[str, Any]:
    """``{"usable", "reason"}`` of the toolbox at ``path``; the reason is "" for a usable one."""
    problems = Toolbox(path, host_python(path), minimum_version).inspect().problems
    return {"usable": not problems, "reason": "; ".join(problems[:3])}


def is_path_writable(path: str) -> bool:
    """Whether this user can write ``path``, or make it where it is not there yet."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0))


def find_unwritable(paths: list[str]) -> list[str]:
    """Those of ``paths`` that this user can neither write nor make; empty ones are left out."""
    return [path for path in paths if path and not is_path_writable(path)]


def read_port_owners(ports: list[int], supervisor_dir: str) -> dict[str, list[dict[str, Any]]]:
    """``{port as text: [{"pid", "command"}]}``, without the programs of the supervisord with ``supervisor_dir``."""
    return {str(port): owners for port, owners in unmanaged_port_owners(ports, supervisor_dir).items()}


def stat_paths(paths: list[str]) -> dict[str, dict[str, Any]]:
    """``{path: {"exists", "is_dir", "mode" (octal), "size" (bytes)}}``; symbolic links are followed."""
    found = {}
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            found[path] = {"exists": os.path.lexists(path), "is_dir": False, "mode": "", "size": 0}
            continue
        found[path] = {
            "exists": True,
            "is_dir": stat.S_ISDIR(status.st_mode),
            "mode": f"{stat.S_IMODE(status.st_mode):04o}",
            "size": status.st_size,
        }
    return found


def read_disks(paths: list[str]) -> dict[str, dict[str, Any]]:
    """For each path the disk that it is on, or would be: see :func:`read_disk`. One that does not answer is left out."""
    found = {}
    for path in filter(None, paths):
        with contextlib.suppress(OSError):  # a network file system may answer for nothing
            found[path] = read_disk(path)
    return found


def read_disk(path: str) -> dict[str, Any]:
    """``{"exists", "device" (the same for paths on one disk), "free" (bytes, None where nobody tells), "system", "similar"}``.

    ``system``: whether it is the disk of ``/``. ``similar``: for directories beside the first part of the path that does not exist, with
    names that are almost the same, their free bytes. Raises OSError.
    """
    path = os.path.abspath(path)
    there = nearest_directory(path)
    device = os.stat(there).st_dev
    similar: list[str] = []
    if not os.path.lexists(path):
        missing = os.path.relpath(path, there).split(os.sep)[0]
        with contextlib.suppress(OSError):
            names = difflib.get_close_matches(missing, os.listdir(there), n=2, cutoff=SIMILAR_DIRECTORY)
            similar = [each for name in names for each in [os.path.join(there, name)] if os.path.isdir(each)]
    return {
        "exists": os.path.lexists(path),
        "device": str(device),
        "free": free_bytes(there),
        "system": device == os.stat("/").st_dev,
        "similar": {each: free_bytes(each) or 0 for each in similar},
    }


def has_checkpoint(webui_dir: str) -> bool:
    """Whether the WebUI finds a checkpoint in ``webui_dir``, which is its data directory."""
    return any(True for _path in find_models(webui_dir, "checkpoint"))


def read_contents(paths: list[str]) -> dict[str, str | None]:
    """``{path: text}``; None for what is no regular file of at most MAX_CONTENT bytes of UTF-8 that this user can read."""
    found: dict[str, str | None] = dict.fromkeys(paths)
    for path in paths:
        with contextlib.suppress(OSError, ValueError, SdopsError):
            found[path] = read_regular(path, MAX_CONTENT, follow=True).decode("utf-8")
    return found


def read_user_names(paths: list[str]) -> dict[str, str | None]:
    """``{path: name}`` of files with a line USER:PASSWORD, of which the password is not told; None where nobody can read one."""
    found: dict[str, str | None] = {}
    for path, text in read_contents(paths).items():
        name, colon, _password = (text or "").partition(":")
        found[path] = name if colon and "\n" not in name else None
    return found


def read_package_versions(names: list[str]) -> dict[str, str]:
    """``{name: version}`` of Debian packages; "" for one that is not installed, or where there is no dpkg."""
    argv = ["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\t${Version}\n", "--", *names]
    found = dict.fromkeys(names, "")
    with contextlib.suppress(SdopsError):
        rows = [line.split("\t") for line in run(argv, {"LC_ALL": "C"}, timeout=COMMAND_LIMIT).out.splitlines()]
        found.update({row[0]: row[2] for row in rows if len(row) == 3 and row[0] in found and row[1] == "installed"})
    return found


def compare_with_record(request: Mapping[str, Any]) -> dict[str, Any]:
    """See ``compare_record``. Where nothing has changed, the programs that have options in ``request`` are tried."""
    return compare_record(
        request["convergence_record"],
        request["supervisor_dir"],
        lambda names: find_broken_program(names, request.get("programs", {})),
    )


def read_supervisord_pid(directory: str) -> int:
    """Process id of the supervisord whose files lie in ``directory``; 0 when it does not answer."""
    try:
        return Supervisor(directory).pid()
    except (SdopsError, OSError, ValueError):
        return 0


# part of the result: (option that requests it, its reader)
READERS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "python": ("toolbox", lambda request: os.path.abspath(host_python(request["toolbox"]))),
    "toolbox": (
        "toolbox",
        lambda request: read_toolbox_state(request["toolbox"], request.get("minimum_version", (3, 8))),
    ),
    "pip_index_url": (
        "pip_index",
        lambda request: effective_setting(read_pip_config(host_python(request["toolbox"])), "index-url"),
    ),
    "gpu": ("nvidia_smi", lambda request: read_gpu_facts(request["nvidia_smi"])),
    "unwritable": ("writable", lambda request: find_unwritable(request["writable"])),
    "ports": ("ports", lambda request: read_port_owners(request["ports"], request["supervisor_dir"])),
    "supervisord_pid": ("supervisor_dir", lambda request: read_supervisord_pid(request["supervisor_dir"])),
    "stat": ("stat", lambda request: stat_paths(request["stat"])),
    "disks": ("disks", lambda request: read_disks(request["disks"])),
    "checkpoints": (
        "checkpoint_dirs",
        lambda request: {path: has_checkpoint(path) for path in request["checkpoint_dirs"]},
    ),
    "content": ("content", lambda request: read_contents(request["content"])),
    "user_names": ("user_name_files", lambda request: read_user_names(request["user_name_files"])),
    "convergence": ("convergence_record", compare_with_record),
    "packages": ("packages", lambda request: read_package_versions(request["packages"])),
}
