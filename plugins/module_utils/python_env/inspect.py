# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed in an interpreter's environment, as data and without importing any of it."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from ..errors import SdopsError
from ..process import run

# runs in the inspected interpreter, so: standard library only, any Python >= 3.8
PROBE = r"""
import json, platform, re, sys
from importlib import metadata
found = {}
for d in metadata.distributions():
    name = d.metadata["Name"]
    if not name:
        continue
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        continue
    url = d.read_text("direct_url.json")
    found[key] = {"version": d.version, "url": json.loads(url)["url"] if url else None, "requires": d.requires or []}
print(json.dumps({"python": platform.python_version(), "prefix": sys.prefix, "distributions": found}))
"""


class PythonEnvError(SdopsError):
    """An interpreter or its packages are not what is wanted."""


def inspect(python: str) -> Dict[str, Any]:
    """``{"python": version, "prefix": path, "distributions": {normalised name: {version, url, requires}}}``.

    Raises PythonEnvError when ``python`` does not run.
    """
    done = run([python, "-I", "-c", PROBE], timeout=120)
    if done.rc != 0:
        raise PythonEnvError("The interpreter %s does not work: %s" % (python, done.tail()))
    result: Dict[str, Any] = json.loads(done.out)
    return result


def versions(state: Dict[str, Any]) -> Dict[str, str]:
    """Name to version of what ``inspect`` found."""
    return {name: entry["version"] for name, entry in state["distributions"].items()}


def difference(before: Dict[str, str], after: Dict[str, str]) -> List[Dict[str, Any]]:
    """``[{name, before, after}]`` of what differs, sorted by name; None stands for absent."""
    names = sorted(set(before) | set(after))
    return [{"name": n, "before": before.get(n), "after": after.get(n)} for n in names if before.get(n) != after.get(n)]
