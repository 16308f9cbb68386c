# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a costly check depends on is as it was when the check last succeeded.

The state file holds ``{name: key}`` for the checks of a host. A key is ``{"values": SHA-256, "files": {path: SHA-256 or null},
"environment": {path: identity}, "distributions": {name: version}}``.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from typing import Any, Iterable

from .errors import FileTypeError
from .filesystem import load_json, locked, sha256_of, write_atomic
from .python_env.names import normalize_name

# written when an environment is made, and again when conda changes it
ENVIRONMENT_MARKERS = ("conda-meta/history", "pyvenv.cfg")
DIST_INFO = re.compile(r"(.+?)-(.+)\.dist-info\Z")


def checksum_or_none(path: str) -> str | None:
    """SHA-256 of a regular file; None where there is none."""
    try:
        return sha256_of(path)
    except (OSError, FileTypeError):
        return None


def environment_identity(prefix: str) -> list[int] | None:
    """What tells the Python environment at ``prefix`` from one that was made later at the same place; None where there is none.

    Size and time of change (ns) of its marker. Not the inode: a snapshot leaves copies in the environment.
    """
    for marker in ENVIRONMENT_MARKERS:
        try:
            found = os.stat(os.path.join(prefix, marker))
        except OSError:
            continue
        return [found.st_size, found.st_mtime_ns]
    return None


def list_distributions(prefix: str) -> dict[str, str]:
    """``{normalised name: version}`` of an environment, by the names of its ``.dist-info`` directories.

    One without INSTALLER was left half by an interrupted installation, and is left out.
    """
    found = {}
    for path in glob.glob(os.path.join(glob.escape(prefix), "lib/python*/site-packages/*.dist-info")):
        match = DIST_INFO.match(os.path.basename(path))
        if match and os.path.exists(os.path.join(path, "INSTALLER")):
            found[normalize_name(match.group(1))] = match.group(2)
    return found


def compute_key(
    values: Any,
    files: Iterable[str] = (),
    environment: str | None = None,
    distributions: Iterable[str] = (),
    ignored_distributions: Iterable[str] = (),
) -> dict[str, Any]:
    """The key as it is now. ``values``: whatever JSON holds. ``distributions``: names that count; all where none is given."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    installed = list_distributions(environment) if environment else {}
    names = set(map(normalize_name, distributions)) or set(installed)
    names -= set(map(normalize_name, ignored_distributions))
    return {
        "values": hashlib.sha256(text.encode()).hexdigest(),
        "files": {path: checksum_or_none(path) for path in files},
        "environment": {environment: environment_identity(environment)} if environment else {},
        "distributions": {name: version for name, version in installed.items() if name in names},
    }


def explain_difference(recorded: Any, key: dict[str, Any]) -> str:
    """Why ``recorded`` does not hold for ``key``, in words; "" where it does.

    A distribution that came later does not matter: other roles install theirs into the same environment.
    """
    if not isinstance(recorded, dict) or set(recorded) != set(key):
        return "no success is recorded"
    if recorded["values"] != key["values"]:
        return "its settings have changed"
    if not all(isinstance(recorded[part], dict) for part in ("files", "environment", "distributions")):
        return "no success is recorded"
    for path in sorted({*recorded["files"], *key["files"]}):
        if path not in recorded["files"] or path not in key["files"] or recorded["files"][path] != key["files"][path]:
            return f"{path} has changed"
    if recorded["environment"] != key["environment"]:
        return "the environment was recreated"
    for name, version in sorted(recorded["distributions"].items()):
        now = key["distributions"].get(name)
        if now != version:
            return f"{name} was {version} and is {now or 'gone'}"
    return ""


def load_keys(state_file: str) -> dict[str, Any]:
    """The recorded keys; {} where the file is missing or damaged: then every check runs."""
    try:
        found = load_json(state_file)
    except (OSError, ValueError, FileTypeError):
        return {}
    return found if isinstance(found, dict) else {}


def record_key(state_file: str, name: str, key: dict[str, Any]) -> None:
    """Write ``key`` into the state file, beside those of other checks. Raises OSError and FileTypeError."""
    with locked(os.path.dirname(state_file)):
        text = json.dumps({**load_keys(state_file), name: key}, indent=1, sort_keys=True)
        write_atomic(state_file, (text + "\n").encode())
