# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes for an extension, as one value."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any, Dict, List, Union

from ..errors import SdopsError
from .catalog import CATALOG

STATES = ("present", "disabled", "absent")
FIELDS = {
    "name",
    "repo",
    "commit",
    "state",
    "packages",
    "keep",
    "requirements",
    "install_script",
    "models",
    "arguments",
    "files",
    "debian",
    "build",
}
PLACED = ("path", "repo", "file", "revision", "sha256")  # below ~ or the data directory, and on the Hub
COMMIT = re.compile(r"^[0-9a-f]{40}\Z")
DIRECTORY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class ExtensionError(SdopsError):
    """An extension that cannot be understood, or does not fit."""


def version(text: str) -> List[int]:
    """ "1.10.1" -> [1, 10, 1]; the development branch is newer than every release."""
    return [int(n) for n in re.findall(r"\d+", text)] or [999]


def plan(entries: List[Union[str, Dict[str, Any]]], github: str, webui: str) -> List[Dict[str, Any]]:
    """One mapping per extension, with every field; see the filter extension_plan. Raises ExtensionError naming the entry."""
    found = [one(entry, github, webui) for entry in entries]
    names = [entry["name"] for entry in found]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ExtensionError("The extension %s is listed more than once." % ", ".join(twins))
    return found


def one(entry: Union[str, Dict[str, Any]], github: str, webui: str) -> Dict[str, Any]:
    """The mapping of one extension."""
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ExtensionError("%r is no extension; give a name from the catalog (%s), or a mapping with name, repo and "
                             "commit." % (entry, ", ".join(CATALOG)))  # fmt: skip
    name = entry["name"]
    unknown = sorted(set(entry) - FIELDS)
    if unknown:
        raise ExtensionError("The extension %s has the unknown field %s; there are %s." % (name, ", ".join(unknown),
                             ", ".join(sorted(FIELDS))))  # fmt: skip
    state = entry.get("state", "present")
    if state not in STATES:
        raise ExtensionError("The extension %s: state must be one of %s, not %r." % (name, ", ".join(STATES), state))
    known = CATALOG.get(name) or next((e for e in CATALOG.values() if e.directory == name), None)
    if known is None and state != "absent" and not (entry.get("repo") and entry.get("commit")):
        close = difflib.get_close_matches(name.lower(), CATALOG, n=2, cutoff=0.5)
        raise ExtensionError(
            "The catalog has no extension %s. %s Any other one needs repo and commit."
            % (name, "Did you mean %s?" % " or ".join(close) if close else "It has %s." % ", ".join(CATALOG))
        )
    directory = known.directory if known else name
    if not DIRECTORY.match(directory):
        raise ExtensionError(
            "The extension %s: the name is a directory below extensions/, so it must be a plain one." % name
        )
    commit = entry.get("commit") or (known.commit if known else "")
    if state != "absent" and not COMMIT.match(str(commit)):
        raise ExtensionError("The extension %s: commit %r is no full commit id (40 hex digits)." % (name, commit))
    if known and known.oldest and state == "present" and version(webui) < version(known.oldest):
        raise ExtensionError("The extension %s works with WebUI %s and newer, not with %s. Leave it out, or set its state to "
                             "disabled." % (name, known.oldest, webui))  # fmt: skip
    packages = entry.get("packages")
    if packages is None and known and known.packages is not None and "requirements" not in entry:
        packages = list(known.packages)
    return {
        "name": directory,
        "repo": entry.get("repo") or ("%s/%s.git" % (github, known.repository) if known else ""),
        "commit": commit,
        "state": state,
        "packages": packages or [],
        "keep": list(entry.get("keep") or (known.keep if known else ())),
        # its own way: requirements.txt, then install.py
        "requirements": bool(entry.get("requirements", packages is None)),
        "install_script": bool(entry.get("install_script", packages is None)),
        "models": list(entry.get("models", known.models if known else ())),
        "files": [
            _placed(name, f) for f in entry.get("files", [dict(zip(PLACED, f)) for f in (known.files if known else ())])
        ],
        "debian": list(entry.get("debian", known.debian if known and packages else ())),
        "build": list(entry.get("build", known.build if known and packages else ())),
        "arguments": list(entry.get("arguments") or (known.arguments if known else ())),
    }


def _placed(name: str, entry: Dict[str, Any]) -> Dict[str, Any]:
    """One of the ``files``, with every field. Without a revision, the repository's main branch."""
    if not isinstance(entry, dict) or set(entry) - set(PLACED) or not all(entry.get(field) for field in PLACED[:3]):
        raise ExtensionError(
            "The extension %s: one of its files is %r; it needs path, repo and file, and may have revision and sha256."
            % (name, entry)
        )
    if os.path.isabs(entry["path"]) or ".." in entry["path"].split("/"):
        raise ExtensionError(
            "The extension %s: the path %s must lie below ~ or the data directory." % (name, entry["path"])
        )
    return {**entry, "revision": entry.get("revision") or "main", "sha256": entry.get("sha256") or ""}
