# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: expected_models
short_description: What is known of model entries before their sources are asked
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Reads entries as M(sdops.webui.model_files) does, with the sizes and names of the catalog. Nothing is asked.
  - Entries that cannot be understood are left out, see P(sdops.webui.model_problems#filter).
positional: _input, webui_dir, huggingface_endpoint, civitai_endpoint
options:
  _input:
    description: The entries, as in O(sdops.webui.model_files#module:models).
    type: list
    elements: raw
    required: true
  webui_dir:
    description: The WebUI's data directory.
    type: path
    required: true
  huggingface_endpoint:
    description: Base URL of the Hugging Face Hub or of a mirror.
    type: str
    default: https://huggingface.co
  civitai_endpoint:
    description: Base URL of Civitai.
    type: str
    default: https://civitai.com
"""

EXAMPLES = r"""
- name: Report what the catalog knows
  ansible.builtin.debug:
    msg: "{{ model_fetch_models | sdops.webui.expected_models('/root/stable-diffusion-webui') }}"
"""

RETURN = r"""
_value:
  description: Mappings with C(source), C(source_id) (identifies it in the record of M(sdops.webui.model_files)), C(kind), C(name), C(path) and C(size)
    (bytes); empty, or 0, where only the source knows them. None for an entry with C(state=absent).
  type: list
  elements: dict
  sample: [{source: civitai://112969, source_id: cf5288ed2026b678, kind: "", name: "", path: "", size: 0}]
"""

from typing import Any, Callable

from ..module_utils.models.expected import list_expected_models
from ..module_utils.models.spec import DEFAULT_ENDPOINTS, Endpoints


def expected_models(
    entries: Any,
    webui_dir: str,
    huggingface_endpoint: str = DEFAULT_ENDPOINTS.huggingface,
    civitai_endpoint: str = DEFAULT_ENDPOINTS.civitai,
) -> list[dict[str, Any]]:
    # a text is split as Ansible splits one that is given for a list
    entries = entries.split(",") if isinstance(entries, str) else entries
    endpoints = Endpoints(huggingface_endpoint, civitai_endpoint)
    return [model._asdict() for model in list_expected_models(entries or [], webui_dir, endpoints)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"expected_models": expected_models}
