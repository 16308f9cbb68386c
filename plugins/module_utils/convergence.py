# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host is as a whole run of the playbook site has left it.

The record holds ``{"key": what the run was made of, "parts": {name: digits of each part's hash}, "files": {path: fingerprint},
"programs": {name: state}}``. A fingerprint tells a file from any other that somebody may have put there without reading it: kind, mode,
owner, size and time of change (ns); a link by its target, a directory by mode and owner, what is missing by nothing. Standard library
only: it is read before there is a toolbox.
"""

from __future__ import annotations

import glob
import json
import os
import stat
from typing import Any, Callable, Iterable, Mapping

from .errors import FileTypeError, SdopsError
from .filesystem import load_json, write_atomic
from .supervisor.client import Supervisor

MAX_RECORD = 8 << 20  # bytes: a few thousand files


def fingerprint(path: str) -> list[Any]:
    """What is at ``path``: ``["file", mode, uid, gid, size, mtime_ns]``, ``["directory", mode, uid, gid]``, ``["link", target]`` or []."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return ["link", os.readlink(path)]
    except (OSError, ValueError):
        return []
    owner = [stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid]
    if stat.S_ISREG(found.st_mode):
        return ["file", *owner, found.st_size, found.st_mtime_ns]
    return ["directory" if stat.S_ISDIR(found.st_mode) else "other", *owner]


def fingerprints(paths: Iterable[str], patterns: Iterable[Mapping[str, str]]) -> dict[str, list[Any]]:
    """``{path: fingerprint}`` of ``paths`` and of what matches ``patterns``: ``{"directory", "pattern"}``, as the module glob has it."""
    found = [str(path) for path in paths]
    for each in patterns:
        found += glob.glob(os.path.join(glob.escape(each["directory"]), each["pattern"]))
    return {path: fingerprint(path) for path in found}


def program_states(supervisor_dir: str) -> dict[str, str] | None:
    """``{name: state in words}`` of the programs of supervisord; None when it does not answer."""
    try:
        return {str(info["name"]): str(info["statename"]) for info in Supervisor(supervisor_dir).programs()}
    except (SdopsError, OSError, ValueError, KeyError):
        return None


def write_record(
    path: str,
    key: str,
    parts: dict[str, str],
    paths: list[str],
    patterns: list[dict[str, Any]],
    supervisor_dir: str,
) -> int:
    """Write the record of the host as it is now; the number of files in it. Raises OSError and FileTypeError."""
    files = fingerprints(paths, patterns)
    programs = program_states(supervisor_dir)
    record = {"key": key, "parts": parts, "paths": paths, "patterns": patterns, "files": files, "programs": programs}
    write_atomic(path, json.dumps(record).encode(), 0o600)
    return len(files)


def compare_record(
    path: str, supervisor_dir: str, find_difference: Callable[[Iterable[str]], list[str]] = lambda names: []
) -> dict[str, Any]:
    """``{"key", "parts", "difference"}`` of the record. The last is what has changed since: [] where nothing has, else its kind and names.

    Kinds: ``record``, where there is none that can be read (then the key is "" as well), ``changed`` with a path, and ``programs``; and
    what ``find_difference`` has to say of the programs with these names, where there is no other difference.
    """
    known: dict[str, Any] = {"key": "", "parts": {}}
    try:
        record = load_json(path, MAX_RECORD)
        files, programs = record["files"], record["programs"]
        now = fingerprints(record["paths"], record["patterns"])
        known = {"key": str(record["key"]), "parts": dict(record["parts"])}
        changed = (each for each in {*files, *now} if files.get(each, []) != now.get(each, []))
        # a file of ours says more than one of the many that patterns match
        differing = sorted(changed, key=lambda each: (each not in record["paths"], each))
    except (OSError, FileTypeError, ValueError, LookupError, TypeError, AttributeError):
        return {**known, "difference": ["record"]}
    if differing:
        return {**known, "difference": ["changed", differing[0]]}
    if not programs or programs != program_states(supervisor_dir):
        return {**known, "difference": ["programs"]}
    return {**known, "difference": find_difference(programs)}
