# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run replaces the installed version of the WebUI, and whether anybody has asked for that."""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple

from .filesystem import parse_json
from .webui_versions import WEBUI_VERSIONS

# the variables that select a version; one of them that is set is a request for what it selects
VERSION_VARIABLES = ("sd_webui_version", "sd_webui_commit", "sd_webui_repo")
SHORT_COMMIT = 10  # hex digits that a person reads


class VersionChange(NamedTuple):
    """What becomes of the installed version.

    ``installed`` and ``desired``: as a person reads them, the former "" where nothing is installed. ``changed``: whether they differ.
    ``objection``: a sentence about why that must not be, "" where it may. ``notice``: a sentence about a change that nobody has asked for
    and that may be. ``requested``: the variables to record, by name, that ask for the desired version.
    """

    installed: str
    desired: str
    changed: bool
    objection: str
    notice: str
    requested: dict[str, str]


def version_label(version: str, commit: str) -> str:
    """``1.10.1``, or ``1.10.1 at commit 0123456789`` where that is not the commit that the table has for the version."""
    row = WEBUI_VERSIONS.get(version)
    return version if row and row.commit == commit else f"{version} at commit {commit[:SHORT_COMMIT]}"


def is_newer(version: str, other: str) -> bool:
    """Whether ``version`` is a release after ``other``; False where one of them is no release (``dev``)."""
    if not all(re.fullmatch(r"\d+(\.\d+)*", each) for each in (version, other)):
        return False
    return [int(part) for part in version.split(".")] > [int(part) for part in other.split(".")]


def compare_version(
    installed_text: str | None, sources_text: str | None, desired: Mapping[str, str], given: Mapping[str, str]
) -> VersionChange:
    """Compare the installed version with ``desired``, which is ``version`` and ``commit`` of this run.

    ``installed_text``, ``sources_text``: the JSON that earlier runs have recorded of what is installed (``version``, ``commit``) and of
    where it came from (``requested``); None or "" where there is none. ``given``: those of VERSION_VARIABLES that somebody has set.

    A change needs one of VERSION_VARIABLES, with an exception: what was installed as the default of the collection follows that to a
    newer release, or to another commit of the same one.
    """
    installed, found = _parse(installed_text), _parse(sources_text).get("requested")
    recorded: dict[str, str] | None = found if isinstance(found, dict) else None
    version, commit = str(installed.get("version") or ""), str(installed.get("commit") or "")
    wanted = version_label(desired["version"], desired["commit"])
    change = VersionChange("", wanted, False, "", "", dict(given))
    if not version or not commit:
        return change
    change = change._replace(
        installed=version_label(version, commit), changed=(version, commit) != (desired["version"], desired["commit"])
    )
    if given:
        if change.changed and commit == desired["commit"]:
            change = change._replace(
                notice=f"sd_webui_commit keeps the code of the WebUI at {commit[:SHORT_COMMIT]}: only its packages become those of "
                f"{desired['version']}. For its code too, take sd_webui_commit out of the inventory."
            )
        return change
    if not change.changed:
        return change._replace(requested=recorded or {})
    request = recorded or _request(version, commit)
    lines = ", ".join(f"{name}: {request[name]}" for name in VERSION_VARIABLES if name in request)
    keep = f"To keep {change.installed}, write into the inventory: {lines}."
    if recorded == {} and (desired["version"] == version or is_newer(desired["version"], version)):
        return change._replace(
            notice=f"the WebUI goes from {change.installed} to {wanted}, the default of this release of the collection. {keep}"
        )
    origin = (
        "is installed there"
        if recorded is None
        else "an earlier run asked for"
        if recorded
        else "was the default of another release of this collection"
    )
    return change._replace(
        objection=f"the WebUI has version {change.installed}, which {origin}. No variable of this run asks for a version, and the default, "
        f"{wanted}, would replace it. {keep} To install {wanted}, run with -e sd_webui_version={desired['version']}."
    )


def _request(version: str, commit: str) -> dict[str, str]:
    """The variables that select what is installed."""
    row = WEBUI_VERSIONS.get(version)
    if row and row.commit == commit:
        return {"sd_webui_version": version}
    return {**({"sd_webui_version": version} if row else {}), "sd_webui_commit": commit}


def _parse(text: str | None) -> dict[str, Any]:
    """The mapping in a JSON text; empty for anything else."""
    try:
        found = parse_json(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
