# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed in an interpreter's environment, as data and without importing any of it."""

from __future__ import annotations

from typing import Any

from ..errors import PythonEnvError, SdopsError
from ..filesystem import parse_json
from ..process import run
from ..urls import without_user

# Runs in the inspected interpreter, so: standard library only, any Python >= 3.8; first found on sys.path wins, as in import.
# uv and pip write INSTALLER after all files of a distribution, and remove it before them. Its metadata is there from the
# start, so one without INSTALLER was interrupted half-way, although every tool takes it for installed.
INSPECT_SCRIPT = r"""
import json, os, platform, re, sys
from importlib import metadata
found = {}
for d in metadata.distributions():
    folder = re.match(r"^(.+?)-(.+)\.dist-info$", os.path.basename(str(getattr(d, "_path", ""))))
    name, version, requires = (d.metadata["Name"], d.version, d.requires) if d.metadata else (None, None, None)
    if not name and folder:
        name, version = folder.groups()
    if not name:
        continue
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        continue
    url = d.read_text("direct_url.json")
    found[key] = {
        "version": version, "direct_url": json.loads(url) if url else None, "requires": requires or [],
        "complete": not folder or d.read_text("INSTALLER") is not None,
    }
impl = sys.implementation
v = impl.version
print(json.dumps({
    "python": platform.python_version(), "prefix": sys.prefix, "distributions": found,
    "markers": {
        "implementation_name": impl.name,
        "implementation_version": "%d.%d.%d" % v[:3] + ("" if v.releaselevel == "final" else v.releaselevel[0] + str(v.serial)),
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
}))
"""


def run_probe(python: str, script: str, what: str) -> Any:
    """Run ``script`` in ``python``, isolated from the caller's environment, and load the JSON it prints.

    Raises PythonEnvError when the interpreter does not work; ``what`` names what is queried.
    """
    try:
        done = run([python, "-I", "-c", script], timeout=300)
    except SdopsError as exc:
        raise PythonEnvError(
            f"The interpreter {python} cannot be run: {exc} Make the environment first (role conda_env), or correct the path."
        ) from exc
    try:
        if done.rc != 0:
            raise ValueError
        return parse_json(done.out.strip().splitlines()[-1])
    except (ValueError, IndexError) as exc:
        raise PythonEnvError(f"The interpreter {python} could not be queried for {what}: {done.tail()}") from exc


def inspect_environment(python: str) -> dict[str, Any]:
    """What an environment holds.

    ``{"python": version, "prefix": path, "markers": PEP 508 environment,
    "distributions": {normalised name: {version, direct_url (PEP 610) or None, requires, complete}}}``. One that is not
    complete was left by an interrupted installation. Raises PythonEnvError when ``python`` does not run.
    """
    result: dict[str, Any] = run_probe(python, INSPECT_SCRIPT, "its packages")
    return result


def installed_from(entry: dict[str, Any]) -> str | None:
    """URL that a distribution was installed from, with the commit for version control; None when from an index."""
    direct = entry.get("direct_url")
    if not direct:
        return None
    vcs = direct.get("vcs_info") or {}
    url = without_user(direct.get("url", ""))
    return "{}+{}@{}".format(vcs.get("vcs"), url, vcs.get("commit_id")) if vcs else url


def version_labels(state: dict[str, Any]) -> dict[str, str]:
    """Name to version of what ``inspect_environment`` found, with the URL for what was not installed from an index, and what is half."""
    result = {}
    for name, entry in state["distributions"].items():
        more = [installed_from(entry), None if entry["complete"] else "incomplete"]
        result[name] = " ".join([entry["version"], *(f"({m})" for m in more if m)])
    return result


def compare_versions(before: dict[str, str], after: dict[str, str]) -> list[dict[str, Any]]:
    """``[{name, before, after}]`` of what differs, sorted by name; None stands for absent."""
    names = sorted(set(before) | set(after))
    return [{"name": n, "before": before.get(n), "after": after.get(n)} for n in names if before.get(n) != after.get(n)]
