# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: extension_plan
short_description: What a list of extensions means
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Turns names from the catalog and mappings into mappings with every field, for the module M(sdops.webui.webui_extensions).
  - An entry that cannot be understood, or does not fit the WebUI's version, is an error that names it.
positional: _input, github, webui
options:
  _input:
    description: Names from the catalog, or mappings with C(name), C(repo), C(commit) and more.
    type: list
    elements: raw
    required: true
  github:
    description: URL below which the catalog's repositories lie.
    type: str
    required: true
  webui:
    description: Version of the WebUI.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Tell what will be installed
  ansible.builtin.debug:
    msg: "{{ ['controlnet', {'name': 'lobe-theme', 'state': 'disabled'}] | sdops.webui.extension_plan('https://github.com', '1.10.1') }}"
"""

RETURN = r"""
_value:
  description: The extensions.
  type: list
  elements: dict
  sample:
    - name: sd-webui-lobe-theme
      repo: https://github.com/lobehub/sd-webui-lobe-theme.git
      commit: 32b032c2a92f12f332e101cd70d5102cf60e73d3
      state: disabled
      packages: []
      keep: []
      requirements: false
      install_script: false
      models: []
      files: []
      debian: []
      build: []
      arguments: []
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import ExtensionError
from ..module_utils.variables.extension_plan import plan


def extension_plan(entries: list[str | dict[str, Any]], github: str, webui: str) -> list[dict[str, Any]]:
    try:
        return plan(list(entries), github, webui)
    except ExtensionError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"extension_plan": extension_plan}
