# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host with the WebUI is like right now: versions, GPUs, disks, models, extensions, programs.

Standard library only, and nothing here changes the host or raises: what cannot be read is reported as absent.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import time
import urllib.request
from typing import Any, Mapping

from .errors import SdopsError
from .filesystem import nearest_directory, parse_json, read_regular
from .gpu.smi import read_gpu_usage
from .models.layout import MODEL_KINDS, find_models
from .supervisor.client import Supervisor

MAX_FILE = 1 << 20  # bytes
PING_TIMEOUT = 5  # seconds
PACKAGES = ("torch", "xformers", "gradio")  # whose versions are reported


def read_status(options: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that the module webui_status_info documents, for its options."""
    return {
        "version": read_installed_version(options["state_dir"], options["webui_dir"]),
        "packages": read_packages(options["environment"]),
        "gpus": read_gpu_usage(options["nvidia_smi"]),
        "disks": {path: read_usage(path) for path in dict.fromkeys(options["disks"])},
        "models": count_models(options["data_dir"]),
        "extensions": list_extensions(options["data_dir"]),
        "programs": list_programs(options["supervisor_dir"]),
        "answers": answers(options["url"]),
    }


def read_installed_version(state_dir: str, webui_dir: str) -> dict[str, str]:
    """``{"version", "commit", "checkout"}``: what the role sd_webui has recorded, and the commit that is checked out; "" for unknown."""
    installed = _load(os.path.join(state_dir, "installed.json"))
    return {
        "version": str(installed.get("version") or ""),
        "commit": str(installed.get("commit") or ""),
        "checkout": _read_head(os.path.join(webui_dir, ".git")),
    }


def _read_head(git_dir: str) -> str:
    """The commit that HEAD names, 40 hex digits, without running git; "" where it is packed away or not there."""
    text = _read(os.path.join(git_dir, "HEAD")).strip()
    if text.startswith("ref: refs/") and ".." not in text:
        text = _read(os.path.join(git_dir, text[len("ref: ") :])).strip()
    return text if re.fullmatch("[0-9a-f]{40}", text) else ""


def read_packages(environment: str) -> dict[str, str]:
    """``{name: version}`` of those of PACKAGES that are installed below the prefix ``environment``, without starting its Python."""
    found = {}
    for name in PACKAGES:
        pattern = os.path.join(glob.escape(environment), "lib", "python3.*", "site-packages", f"{name}-*.dist-info")
        for path in sorted(glob.glob(pattern)):
            found[name] = os.path.basename(path)[len(name) + 1 : -len(".dist-info")]
    return found


def read_usage(path: str) -> dict[str, int | None]:
    """``{"free", "total"}`` in bytes of the disk that ``path`` is on, or would be; None where the file system does not tell."""
    try:
        usage = shutil.disk_usage(nearest_directory(path))
    except OSError:
        return {"free": None, "total": None}
    return {"free": usage.free, "total": usage.total} if usage.total else {"free": None, "total": None}


def count_models(data_dir: str) -> dict[str, dict[str, int]]:
    """``{kind: {"count", "bytes"}}`` of the kinds of which there are any."""
    found = {}
    for kind in MODEL_KINDS:
        sizes = []
        for path in find_models(data_dir, kind):
            with contextlib.suppress(OSError):
                sizes.append(os.stat(path).st_size)
        if sizes:
            found[kind] = {"count": len(sizes), "bytes": sum(sizes)}
    return found


def list_extensions(data_dir: str) -> dict[str, list[str]]:
    """``{"enabled", "disabled"}``: names of the directories of extensions, by what the WebUI's settings say of them."""
    directory = os.path.join(data_dir, "extensions")
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(directory) if os.path.isdir(os.path.join(directory, name)))
    settings = _load(os.path.join(data_dir, "config.json"))
    disabled = settings.get("disabled_extensions")
    if settings.get("disable_all_extensions") in ("extra", "all"):
        disabled = names
    off = [name for name in names if isinstance(disabled, list) and name in disabled]
    return {"enabled": [name for name in names if name not in off], "disabled": off}


def list_programs(supervisor_dir: str) -> list[dict[str, Any]] | None:
    """``[{"name", "state", "pid", "seconds"}]`` of supervisord's programs, by name; None where it does not answer."""
    try:
        programs = Supervisor(supervisor_dir).programs()
    except (SdopsError, OSError, ValueError):
        return None
    return [
        {
            "name": str(info["name"]),
            "state": str(info["statename"]),
            "pid": int(info["pid"]),
            "seconds": max(0, int(time.time()) - int(info["start"])) if info["pid"] else 0,
        }
        for info in programs
    ]


def answers(url: str) -> bool:
    """Whether the WebUI at ``url`` answers; asked without a proxy and without credentials."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url + "/internal/ping", timeout=PING_TIMEOUT) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def _read(path: str) -> str:
    try:
        return read_regular(path, MAX_FILE, follow=True).decode("utf-8", "replace")
    except (OSError, ValueError, SdopsError):
        return ""


def _load(path: str) -> dict[str, Any]:
    """The mapping in a JSON file; empty for anything else."""
    try:
        found = parse_json(_read(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
