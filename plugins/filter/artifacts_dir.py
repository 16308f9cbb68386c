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
positional: _input, sources
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


def artifacts_dir(inventory_dir: str | None, sources: Iterable[str]) -> str:
    if not inventory_dir:
        return os.path.join(os.environ.get("PWD") or os.getcwd(), "artifacts")
    place = os.path.abspath(inventory_dir)
    # the outermost directory that is read as an inventory and holds this one
    holding = [
        path
        for path in (os.path.abspath(source) for source in sources if "," not in source)
        if os.path.isdir(path) and (place == path or place.startswith(path.rstrip("/") + "/"))
    ]
    return os.path.join(os.path.dirname(min(holding, key=len)) if holding else place, "artifacts")


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"artifacts_dir": artifacts_dir}
