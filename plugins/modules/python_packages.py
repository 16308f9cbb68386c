#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_packages
short_description: Install Python packages into an environment with uv
version_added: 0.1.0
description:
  - Installs requirements into the environment of an interpreter. When all of them are met already, uv is not called and
    no network is needed.
  - Reports what changed by comparing the installed distributions before and after.
author: The sdops.webui authors
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: Requirements that are bare URLs or paths (without a name and C(@)) are handed to uv every time.
options:
  python:
    description: Interpreter of the environment.
    type: path
    required: true
  packages:
    description: Requirement strings, C(NAME @ URL) included.
    type: list
    elements: str
    default: []
  requirements:
    description: Requirements files on the target.
    type: list
    elements: path
    default: []
  constraints:
    description: Constraints files on the target.
    type: list
    elements: path
    default: []
  overrides:
    description: Override files on the target (uv's C(--override)).
    type: list
    elements: path
    default: []
  index_url:
    description: Package index instead of the default one.
    type: str
    default: ""
  extra_index_urls:
    description: More indexes. uv takes a package from the first index that has it, these first.
    type: list
    elements: str
    default: []
  find_links:
    description: Directories or pages with wheels.
    type: list
    elements: str
    default: []
  no_deps:
    description: Leave dependencies alone.
    type: bool
    default: false
  no_build_isolation:
    description: Build source packages with what the environment has.
    type: bool
    default: false
  protect:
    description: Distributions whose version may not change. A change is undone and fails, naming it.
    type: list
    elements: str
    default: []
  uv:
    description: Path of uv. By default the one beside the module's interpreter, else the one on PATH.
    type: path
  cache_dir:
    description: Cache directory of uv.
    type: path
"""

EXAMPLES = r"""
- name: Install torch for CUDA 12.1
  sdops.webui.python_packages:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    packages: [torch==2.1.2, torchvision==0.16.2]
    extra_index_urls: [https://download.pytorch.org/whl/cu121]

- name: Install an extension's requirements, but not another torch
  sdops.webui.python_packages:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    requirements: [/root/autodl-tmp/stable-diffusion-webui/extensions/adetailer/requirements.txt]
    protect: [torch]
"""

RETURN = r"""
changes:
  description: Distributions that changed, or would change; null stands for absent.
  returned: always
  type: list
  elements: dict
  sample: [{name: torch, before: null, after: 2.1.2+cu121}]
unmet:
  description: Requirements that were not met at the start.
  returned: always
  type: list
  elements: str
  sample: [torch==2.1.2]
actions:
  description: The same in words.
  returned: always
  type: list
  elements: str
  sample: [install torch 2.1.2+cu121]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.python_env.packages import Installer, Wish


def words(change: dict) -> str:
    if change["before"] is None:
        return "install %s %s" % (change["name"], change["after"])
    if change["after"] is None:
        return "remove %s %s" % (change["name"], change["before"])
    return "change %s from %s to %s" % (change["name"], change["before"], change["after"])


def work(module: AnsibleModule) -> dict:
    p = module.params
    wish = Wish(**{field: p[field] for field in Wish._fields})
    files = wish.requirements + wish.constraints + wish.overrides
    if module.check_mode and not all(os.path.exists(f) for f in [p["python"], *files]):
        # a bare host: the environment comes with the run itself
        wanted = wish.packages + wish.requirements
        return {"changed": True, "changes": [], "unmet": wanted, "actions": ["install " + w for w in wanted]}
    installer = Installer(p["python"], p["uv"], p["cache_dir"])
    unmet = installer.unmet(wish)
    changes = []
    if unmet:
        changes = installer.plan(wish) if module.check_mode else installer.install(wish, p["protect"])
    return {
        "changed": bool(changes),
        "changes": changes,
        "unmet": unmet,
        "actions": [words(c) for c in changes],
        "diff": {
            "before": "".join("%s %s\n" % (c["name"], c["before"]) for c in changes if c["before"]),
            "after": "".join("%s %s\n" % (c["name"], c["after"]) for c in changes if c["after"]),
        },
    }


def main() -> None:
    strings = {"type": "list", "elements": "str", "default": []}
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "packages": strings,
            "requirements": paths,
            "constraints": paths,
            "overrides": paths,
            "index_url": {"type": "str", "default": ""},
            "extra_index_urls": strings,
            "find_links": strings,
            "no_deps": {"type": "bool", "default": False},
            "no_build_isolation": {"type": "bool", "default": False},
            "protect": strings,
            "uv": {"type": "path"},
            "cache_dir": {"type": "path"},
        },
        required_one_of=[["packages", "requirements"]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
