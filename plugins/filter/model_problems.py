# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_problems
short_description: Which model entries cannot be understood or installed
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Reads entries as M(sdops.webui.model_files) does, and returns a sentence for each that cannot be understood,
    or that names a pickle where none is allowed. Nothing is asked.
positional: _input, huggingface_endpoint, civitai_endpoint, allow_pickle
options:
  _input:
    description: The entries, as in O(sdops.webui.model_files#module:models).
    type: list
    elements: raw
    required: true
  huggingface_endpoint:
    description: Base URL of the Hugging Face Hub or of a mirror.
    type: str
    default: https://huggingface.co
  civitai_endpoint:
    description: Base URL of Civitai.
    type: str
    default: https://civitai.com
  allow_pickle:
    description: Whether pickles are accepted.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Check the models
  ansible.builtin.assert:
    that: model_fetch_models | sdops.webui.model_problems | length == 0
"""

RETURN = r"""
_value:
  description: Sentences, none when all can be understood. What is secret in an entry is masked.
  type: list
  elements: str
  sample: ["The model entry with the fields kind has no source."]
"""

from typing import Any, Callable

from ..module_utils.models.expected import find_model_problems
from ..module_utils.models.spec import DEFAULT_ENDPOINTS, Endpoints


def model_problems(
    entries: Any,
    huggingface_endpoint: str = DEFAULT_ENDPOINTS.huggingface,
    civitai_endpoint: str = DEFAULT_ENDPOINTS.civitai,
    allow_pickle: bool = True,
) -> list[str]:
    # a text is split as Ansible splits one that is given for a list
    entries = entries.split(",") if isinstance(entries, str) else entries
    return find_model_problems(entries or [], Endpoints(huggingface_endpoint, civitai_endpoint), allow_pickle)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_problems": model_problems}
