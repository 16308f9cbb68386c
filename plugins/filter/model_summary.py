# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_summary
short_description: A line for each model of a run
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Says of each model what was done, its kind, name, size and path.
positional: _input
options:
  _input:
    description: RV(sdops.webui.model_files#module:models).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the models
  ansible.builtin.debug:
    msg: "{{ result.models | sdops.webui.model_summary }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
  sample:
    - installed lora film.safetensors (144.11 MB) /root/stable-diffusion-webui/models/Lora/film.safetensors
"""

from typing import Any, Callable, Iterable, Mapping

from ansible.module_utils.common.text.formatters import bytes_to_human


def model_summary(models: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{model['status']} {model['kind']} {model['name']} ({bytes_to_human(int(model.get('bytes') or 0))}) {model['path']}"
        for model in models
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_summary": model_summary}
