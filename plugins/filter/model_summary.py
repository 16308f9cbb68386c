# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_summary
short_description: A table of the models of a run
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Says of each model what was done, or would be, its kind, name, size, and path or source; then how much all of them take.
positional: _input, language
options:
  _input:
    description: RV(sdops.webui.model_files#module:models).
    type: list
    elements: dict
    required: true
  language:
    description: Language of the words, as in P(sdops.webui.message#filter).
    type: str
    choices: [auto, en, zh]
    default: auto
"""

EXAMPLES = r"""
- name: Report the models
  ansible.builtin.debug:
    msg: "{{ result.models | sdops.webui.model_summary(sdops_language) }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
  sample:
    - fetched  lora  film.safetensors  144.1 MiB  /root/stable-diffusion-webui/models/Lora/film.safetensors
    - 1 model, 144.1 MiB
"""

from typing import Any, Callable, Iterable, Mapping

from ..plugin_utils.messages import message
from ..plugin_utils.progress_view import size
from ..plugin_utils.text_tables import render_table


def model_summary(models: Iterable[Mapping[str, Any]], language: str = "auto") -> list[str]:
    """Lines with the columns below each other, none for no models."""
    models = list(models)
    rows = [
        (
            message(f"models_{model['status'].replace(' ', '_')}", language),
            model["kind"] or message("models_no_kind", language),
            model["name"],
            size(int(model["bytes"])) if model.get("bytes") else message("models_no_size", language),
            model["path"] or model.get("source") or "",
        )
        for model in models
    ]
    lines = render_table(rows)
    removed = [model for model in models if model["status"] == "removed"]
    others = [model for model in models if model["status"] != "removed"]
    sums = [_sum_up(others, language)] if others else []
    if removed:
        sums.append(message("models_sum_removed", language, sum=_sum_up(removed, language)))
    return lines + [message("sum_separator", language).join(sums)] if sums else lines


def _sum_up(models: list[Mapping[str, Any]], language: str) -> str:
    total = sum(int(model.get("bytes") or 0) for model in models)
    unknown = sum(not model.get("bytes") for model in models)
    parts = [message("models_many" if len(models) > 1 else "models_one", language, count=len(models)), size(total)]
    if unknown:
        parts.append(message("models_more", language, count=unknown))
    return message("clause_separator", language).join(parts)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_summary": model_summary}
