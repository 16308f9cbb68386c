# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: artifacts_dir
short_description: The directory on the controller for what is fetched from hosts
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Names the directory C(artifacts) beside an inventory. Beside, and not in, an inventory that is a directory itself, since Ansible takes
    every file in it for an inventory, passwords included.
  - With O(directory), that one, where C(~) and environment variables are replaced; a relative one lies at the same place.
positional: _input, sources, directory
options:
  _input:
    description: The variable C(inventory_dir) of a host, empty or null where it came from no file.
    type: str
    required: true
  sources:
    description: The variable C(ansible_inventory_sources).
    type: list
    elements: str
    required: true
  directory:
    description: The directory that the user wants.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Report the directory
  ansible.builtin.debug:
    msg: "{{ inventory_dir | sdops.webui.artifacts_dir(ansible_inventory_sources) }}"
"""

RETURN = r"""
_value:
  description: The directory; below the working directory where the host came from no file.
  type: str
  sample: /home/me/boxes/artifacts
"""

import os
from typing import Any, Callable, Iterable


def artifacts_dir(inventory_dir: str | None, sources: Iterable[str], directory: str = "") -> str:
    name = os.path.expanduser(os.path.expandvars(directory or "artifacts"))
    return os.path.normpath(os.path.join(_place_of(inventory_dir, sources), name))


def _place_of(inventory_dir: str | None, sources: Iterable[str]) -> str:
    """The directory beside the inventory; the working directory where there is none."""
    if not inventory_dir:
        return os.environ.get("PWD") or os.getcwd()
    place = os.path.abspath(inventory_dir)
    # the outermost directory that is read as an inventory and holds this one
    holding = [
        path
        for path in (os.path.abspath(source) for source in sources if "," not in source)
        if os.path.isdir(path) and (place == path or place.startswith(path.rstrip("/") + "/"))
    ]
    return os.path.dirname(min(holding, key=len)) if holding else place


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"artifacts_dir": artifacts_dir}
