# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: checkout_specs
short_description: Repositories below one directory, for git_pins
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Gives each repository the directory of its name below O(directory), as O(sdops.webui.git_pins#module:repos) takes them.
positional: _input, directory
options:
  _input:
    description: Repositories, mappings with C(name), C(repo) (a URL) and C(commit). Other keys are left out.
    type: list
    elements: dict
    required: true
  directory:
    description: The directory that holds the checkouts.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Check out the sub-repositories
  sdops.webui.git_pins:
    repos: "{{ sd_webui_repositories | sdops.webui.checkout_specs('/root/stable-diffusion-webui/repositories') }}"
"""

RETURN = r"""
_value:
  description: The repositories with C(name), C(url), C(commit) and C(dest).
  type: list
  elements: dict
"""

import posixpath
from typing import Any, Callable, Iterable, Mapping


def checkout_specs(repositories: Iterable[Mapping[str, Any]], directory: str) -> list[dict[str, str]]:
    return [
        {
            "name": repository["name"],
            "url": repository["repo"],
            "commit": repository["commit"],
            "dest": posixpath.join(directory, repository["name"]),
        }
        for repository in repositories
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"checkout_specs": checkout_specs}
