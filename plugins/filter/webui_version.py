# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: webui_version
short_description: What belongs to a version of the WebUI
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Looks up commits, packages, constraints and builds of torch of a version of the WebUI.
  - The default version stands in for one that is not known, and for an empty one.
positional: _input, github
options:
  _input:
    description: Version of the WebUI.
    type: str
    required: true
  github:
    description: URL below which the repositories and archives lie.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the commit of the WebUI
  ansible.builtin.debug:
    msg: "{{ ('1.10.1' | sdops.webui.webui_version('https://github.com')).commit }}"
"""

RETURN = r"""
_value:
  description: >-
    The version. C(torch_builds) is what P(sdops.webui.torch_build#filter) takes, C(rejected_extensions) has a reason for each name
    of the extensions' catalog that does not go with this version.
  type: dict
  sample:
    repository: AUTOMATIC1111/stable-diffusion-webui
    repo: https://github.com/AUTOMATIC1111/stable-diffusion-webui.git
    commit: 82a973c04367123ae98bd9abdf80d9eda9b910e2
    repositories:
      - name: BLIP
        variable: BLIP
        repo: https://github.com/salesforce/BLIP.git
        commit: 48211a1594f1321b00f14c9f7a5b4813144b2fb9
    python: 3.10.6
    build_packages: [pip==24.0, setuptools==69.5.1, wheel==0.45.1]
    clip_package: https://github.com/openai/CLIP/archive/d50d76daa670286dd6cacf3bcd80b5e4823fc8e1.zip
    openclip_package: open-clip-torch==2.20.0
    requirements_file: requirements_versions.txt
    constraints: [numpy==1.26.2]
    torch_builds:
      - {build: cu121, torch: 2.1.2, torchvision: 0.16.2, oldest: "5.0", newest: "9.0"}
    rejected_extensions: {}
"""

from typing import Any, Callable

from ..module_utils.webui_versions import webui_version_values


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"webui_version": webui_version_values}
