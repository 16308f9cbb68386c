# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_summary
short_description: A table of what a run in check mode would do
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Lists the actions of results below each other, beside the name of the part that they belong to.
positional: _input
options:
  _input:
    description: Results of modules by the name of the part. C(actions) of each is a list of texts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the plan
  ansible.builtin.debug:
    msg: "{{ {'environment': env, 'models': models} | sdops.webui.plan_summary }}"
  when: ansible_check_mode
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
  sample:
    - environment  make /data/envs/StableDiffusion with Python 3.10.6 by rattler
    - models       fetch /data/stable-diffusion-webui/models/Lora/film.safetensors
"""

from typing import Any, Callable, Mapping

MAX_ACTIONS = 20  # of one part


def plan_summary(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    width = max(map(len, results), default=0)
    lines = []
    for part, result in results.items():
        actions = [str(action) for action in result.get("actions") or ()]
        if len(actions) > MAX_ACTIONS:
            actions[MAX_ACTIONS - 1 :] = [f"and {len(actions) - MAX_ACTIONS + 1} more"]
        for number, action in enumerate(actions or ["nothing to do"]):
            lines.append(f"{'' if number else part:<{width}}  {action}")
    return lines


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan_summary": plan_summary}
