# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: repository_environment
short_description: The variables by which launch.py knows its repositories
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - The WebUI's C(launch.py) reads the address and the commit of each of its repositories from C(NAME_REPO) and C(NAME_COMMIT_HASH).
positional: _input
options:
  _input:
    description: Repositories, mappings with C(variable) (the part of the names before C(_REPO)), C(repo) (a URL) and C(commit).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Install what the WebUI's launcher installs
  ansible.builtin.command:
    argv: [python, launch.py, --exit]
  environment: "{{ sd_webui_repositories | sdops.webui.repository_environment }}"
"""

RETURN = r"""
_value:
  description: The variables.
  type: dict
  sample:
    BLIP_REPO: https://github.com/salesforce/BLIP.git
    BLIP_COMMIT_HASH: 48211a1594f1321b00f14c9f7a5b4813144b2fb9
"""

from typing import Any, Callable, Iterable, Mapping


def repository_environment(repositories: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for repository in repositories:
        found[f"{repository['variable']}_REPO"] = repository["repo"]
        found[f"{repository['variable']}_COMMIT_HASH"] = repository["commit"]
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"repository_environment": repository_environment}
