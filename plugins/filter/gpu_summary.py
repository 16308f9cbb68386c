# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_summary
short_description: A line for each GPU of a host
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Names each GPU with its memory, the driver and its compute capability. Where something is unknown, the last line says why.
positional: _input
options:
  _input:
    description: The fact C(sdops_gpu) of M(sdops.webui.gpu_facts).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the GPUs
  ansible.builtin.debug:
    msg: "{{ ansible_facts['sdops_gpu'] | sdops.webui.gpu_summary }}"
"""

RETURN = r"""
_value:
  description: The lines; one that begins with C(none) where there is no GPU.
  type: list
  elements: str
  sample:
    - NVIDIA GeForce RTX 4090, 24564 MiB, driver 550.54.14, compute capability 8.9
"""

from typing import Any, Callable, Mapping


def gpu_summary(facts: Mapping[str, Any]) -> list[str]:
    if not facts["gpus"]:
        return [f"none: {facts['reason']}"]
    lines = []
    for gpu in facts["gpus"]:
        memory = f"{gpu['memory_mb']} MiB" if gpu["memory_mb"] else "memory unknown"
        driver, capability = facts["driver"] or "unknown", gpu["capability"] or "unknown"
        lines.append(f"{gpu['name']}, {memory}, driver {driver}, compute capability {capability}")
    return lines + ([facts["reason"]] if facts["reason"] else [])


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gpu_summary": gpu_summary}
