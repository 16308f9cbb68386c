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
positional: _input, language
options:
  _input:
    description: >-
      Results of modules by part, which is C(toolbox), C(proxy), C(environment), C(webui), C(models), C(extensions) or C(service).
      C(actions) of each is a list of texts.
    type: dict
    required: true
  language:
    description: Language of the names of the parts, as in P(sdops.webui.message#filter).
    type: str
    choices: [auto, en, zh]
    default: auto
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

from ..plugin_utils.messages import message
from ..plugin_utils.text_tables import render_table

MAX_ACTIONS = 20  # of one part


def plan_summary(results: Mapping[str, Mapping[str, Any]], language: str = "auto") -> list[str]:
    rows = []
    for part, result in results.items():
        actions = [str(action) for action in result.get("actions") or ()]
        if len(actions) > MAX_ACTIONS:
            actions[MAX_ACTIONS - 1 :] = [message("plan_more", language, count=len(actions) - MAX_ACTIONS + 1)]
        for number, action in enumerate(actions or [message("plan_nothing", language)]):
            rows.append(("" if number else message(f"plan_{part}", language), action))
    return render_table(rows)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan_summary": plan_summary}
