# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user writes for an extension, as one value."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

from ..errors import ExtensionError
from ..extensions.catalog import CATALOG
from ..urls import format_value
from ..webui_versions import find_webui_version
from .checks import (
    Check,
    commit_error,
    list_error,
    list_of,
    or_empty,
    text_error,
    webui_arguments_error,
    word_error,
)

STATES = ("present", "disabled", "absent")


def _boolean_error(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false, without quotes"


def _any_list_error(value: Any) -> str:
    return "" if isinstance(value, (list, tuple)) else list_error(value)


def _arguments_error(value: Any) -> str:
    """Never repeats an argument: it may hold a password."""
    if not isinstance(value, (list, tuple)):
        return list_error("")
    return webui_arguments_error(value) or (
        "" if all(isinstance(each, str) for each in value) else "must be a list of texts; put each in quotes"
    )


FIELDS: dict[str, Check] = {
    "name": text_error,
    "repo": or_empty(word_error),
    "commit": or_empty(commit_error),
    "state": lambda value: "" if value in STATES else "must be one of {}".format(", ".join(STATES)),
    "packages": list_of(text_error),
    "keep": list_of(word_error),
    "requirements": _boolean_error,
    "install_script": _boolean_error,
    "models": lambda value: _any_list_error(value) and list_error(""),  # the entries: find_model_problems
    "arguments": _arguments_error,
    "files": _any_list_error,  # the entries: _placed
    "debian": list_of(word_error),
    "build": list_of(text_error),
}
UNSHOWN_FIELDS = ("arguments", "models")  # what may hold secrets
PLACED = ("path", "repo", "file", "revision", "sha256")  # below ~ or the data directory, and on the Hub
DIRECTORY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def plan(entries: list[str | dict[str, Any]], github: str, webui: object) -> list[dict[str, Any]]:
    """One mapping per extension, with every field; see the filter extension_plan. Raises ExtensionError naming the entry."""
    found = [plan_extension(entry, github, webui) for entry in entries]
    names = [entry["name"] for entry in found]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ExtensionError(
            "The extension {} is listed more than once. Keep one of its entries.".format(", ".join(duplicates))
        )
    return found


def plan_extension(entry: str | dict[str, Any], github: str, webui: object) -> dict[str, Any]:
    """The mapping of one extension."""
    if isinstance(entry, str):
        entry = {"name": entry}
    if isinstance(entry, dict):
        # a field without a value is one that is not given
        entry = {
            field: value.strip() if isinstance(value, str) else value
            for field, value in entry.items()
            if value is not None or field not in FIELDS
        }
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ExtensionError(_no_extension(entry))
    name = entry["name"]
    unknown = sorted(map(str, set(entry) - set(FIELDS)))
    if unknown:
        raise ExtensionError("The extension {} has the unknown field {}; there are {}.".format(name, ", ".join(unknown),
                             ", ".join(sorted(FIELDS))))  # fmt: skip
    wrong = [
        f"{field} {why}" if field in UNSHOWN_FIELDS else f"{field} is {format_value(entry[field])}; it {why}"
        for field, check in FIELDS.items()
        if field in entry
        for why in [check(entry[field])]
        if why
    ]
    if wrong:
        raise ExtensionError("The extension {}: {}.".format(name, "; ".join(wrong)))
    state = entry.get("state", "present")
    listed = name if name in CATALOG else next((key for key, e in CATALOG.items() if e.directory == name), "")
    catalog_entry = CATALOG.get(listed)
    if catalog_entry is None and state != "absent" and not (entry.get("repo") and entry.get("commit")):
        close = difflib.get_close_matches(name.lower(), CATALOG, n=2, cutoff=0.5)
        raise ExtensionError(
            "The catalog has no extension {}. {} Any other one needs repo and commit.".format(
                name,
                "Did you mean {}?".format(" or ".join(close)) if close else "It has {}.".format(", ".join(CATALOG)),
            )
        )
    directory = catalog_entry.directory if catalog_entry else name
    if not DIRECTORY.match(directory):
        raise ExtensionError(
            f"The extension {name}: the name is a directory below extensions/, so it must be a plain one."
        )
    commit = entry.get("commit") or (catalog_entry.commit if catalog_entry else "")
    rejected = find_webui_version(webui).rejected_extensions.get(listed)
    if rejected and state == "present":
        raise ExtensionError(f"The extension {name} {rejected}. Leave it out, or set its state to disabled.")
    packages = entry.get("packages")
    if packages is None and catalog_entry and catalog_entry.packages is not None and "requirements" not in entry:
        packages = list(catalog_entry.packages)
    return {
        "name": directory,
        "repo": entry.get("repo") or (f"{github}/{catalog_entry.repository}.git" if catalog_entry else ""),
        "commit": commit,
        "state": state,
        "packages": packages or [],
        "keep": list(entry.get("keep") or (catalog_entry.keep if catalog_entry else ())),
        # its own way: requirements.txt, then install.py
        "requirements": bool(entry.get("requirements", packages is None)),
        "install_script": bool(entry.get("install_script", packages is None)),
        "models": list(entry.get("models", catalog_entry.models if catalog_entry else ())),
        "files": [
            _placed(name, f)
            for f in entry.get("files", [dict(zip(PLACED, f)) for f in (catalog_entry.files if catalog_entry else ())])
        ],
        "debian": list(entry.get("debian", catalog_entry.debian if catalog_entry and packages else ())),
        "build": list(entry.get("build", catalog_entry.build if catalog_entry and packages else ())),
        "arguments": list(entry.get("arguments") or (catalog_entry.arguments if catalog_entry else ())),
    }


def _no_extension(entry: Any) -> str:
    """A sentence about an entry without a name."""
    keys = [key for key in entry if isinstance(key, str) and key not in FIELDS] if isinstance(entry, dict) else []
    if len(keys) == 1:
        return f"{{{keys[0]}: ...}} is no extension, because it has no name. Write name: {keys[0]}, and the other fields beside it."
    return "{} is no extension; give a name from the catalog ({}), or a mapping with name, repo and commit.".format(
        "A mapping without a name" if isinstance(entry, dict) else format_value(entry), ", ".join(CATALOG)
    )


def _placed(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One of the ``files``, with every field. Without a revision, the repository's main branch."""
    if not isinstance(entry, dict) or set(entry) - set(PLACED) or not all(entry.get(field) for field in PLACED[:3]):
        raise ExtensionError(
            f"The extension {name}: one of its files is {format_value(entry)}; it needs path, repo and file, and may have revision and sha256."
        )
    for field, value in entry.items():
        if value is not None and text_error(value):
            raise ExtensionError(
                f"The extension {name}: {field} of one of its files is {format_value(value)}; it {text_error(value)}."
            )
    if os.path.isabs(entry["path"]) or ".." in entry["path"].split("/"):
        raise ExtensionError(
            "The extension {}: the path {} must lie below ~ or the data directory.".format(name, entry["path"])
        )
    return {**entry, "revision": entry.get("revision") or "main", "sha256": entry.get("sha256") or ""}
