# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: missing_space
short_description: Which disks of a host are too small for what is to be installed
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Adds up what is not there yet, disk by disk, and compares it with the free space.
positional: _input, disks
options:
  _input:
    description: >-
      Mappings with C(name), C(path) and C(size), which is a number of bytes or a text such as C(6 GiB)
      (a GiB has 1024 to the power of 3 bytes, a GB 1000 to the power of 3). A path that exists takes nothing.
    type: list
    elements: dict
    required: true
  disks:
    description: Disks by path, as in RV(sdops.webui.host_state_info#module:state).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the free space
  ansible.builtin.assert:
    that: needs | sdops.webui.missing_space(ansible_facts['sdops_host'].disks) | length == 0
  vars:
    needs:
      - {name: the environment, path: /root/autodl-tmp/envs/StableDiffusion, size: 6 GiB}
"""

RETURN = r"""
_value:
  description: A sentence for each disk that is too small. None for a disk whose free space is not known.
  type: list
  elements: str
  sample: ["The disk of /data has 1.0 GiB free, and 6.5 GiB are needed there: the environment 6.0 GiB, the WebUI 512.0 MiB."]
"""

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ..module_utils.variables.checks import parse_size
from ..plugin_utils.progress_view import size as format_size


def missing_space(needs: Iterable[Mapping[str, Any]], disks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Paths that ``disks`` does not have are left out."""
    needed: dict[str, list[tuple[str, str, int]]] = {}
    for need in needs:
        disk = disks.get(need["path"])
        try:
            size = parse_size(need["size"])
        except ValueError as exc:
            raise AnsibleFilterError(f"The size of {need['name']} cannot be understood: {exc}.") from exc
        if disk and not disk["exists"] and size:
            needed.setdefault(disk["device"], []).append((need["path"], need["name"], size))
    found = []
    for device, parts in needed.items():
        free = next(disk["free"] for disk in disks.values() if disk["device"] == device)
        total = sum(size for _path, _name, size in parts)
        if free is not None and total > free:
            largest = max(parts, key=lambda part: part[2])[0]
            listed = ", ".join(f"{name} {format_size(size)}" for _path, name, size in parts)
            found.append(
                f"The disk of {largest} has {format_size(free)} free, and {format_size(total)} are needed there: {listed}."
            )
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_space": missing_space}
