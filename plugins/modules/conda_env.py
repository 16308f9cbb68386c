#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_env
short_description: A conda environment with an exact Python
version_added: 0.1.0
description:
  - Makes a conda environment with the conda, mamba or micromamba that is on the box, or with the py-rattler library of
    the module's interpreter where there is none.
  - An environment that exists is never made anew. One with another Python is refused; one that an earlier run of this
    module left unfinished is started over.
  - Only the channels that are given are asked, so no terms of service are accepted on anybody's behalf.
author: The sdops.webui authors
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  prefix:
    description: Absolute path of the environment.
    type: path
    required: true
  python:
    description: Exact Python version.
    type: str
    required: true
  packages:
    description: More conda packages. They are installed when the environment is made.
    type: list
    elements: str
    default: []
  channels:
    description: Channels by name or URL.
    type: list
    elements: str
    default: [conda-forge]
  engine:
    description: V(auto), V(conda), V(mamba), V(micromamba), V(rattler) or an absolute path.
    type: str
    default: auto
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
"""

EXAMPLES = r"""
- name: Make the environment of the WebUI
  sdops.webui.conda_env:
    prefix: /root/autodl-tmp/envs/StableDiffusion
    python: 3.10.6
"""

RETURN = r"""
prefix:
  description: Path of the environment.
  returned: always
  type: str
  sample: /root/autodl-tmp/envs/StableDiffusion
python:
  description: Its interpreter.
  returned: always
  type: str
  sample: /root/autodl-tmp/envs/StableDiffusion/bin/python
python_version:
  description: Version of the interpreter, asked from it.
  returned: always
  type: str
  sample: 3.10.6
engine:
  description: What made, or would make, the environment.
  returned: always
  type: str
  sample: rattler
packages:
  description: Conda packages in the environment.
  returned: always
  type: dict
  sample: {python: 3.10.6}
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [make /root/autodl-tmp/envs/StableDiffusion with Python 3.10.6]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.conda.environment import Environment, Wanted, installed
from ..module_utils.errors import SdopsError


def work(module: AnsibleModule) -> dict:
    p = module.params
    wanted = Wanted(p["prefix"].rstrip("/"), p["python"], p["packages"], p["channels"])
    environment = Environment(wanted, p["engine"], p["ca_path"])
    have = environment.state()
    changed = have is None
    if changed and not module.check_mode:
        have = environment.create()
    line = "%s: Python %s\n" % (wanted.prefix, wanted.python)
    return {
        "changed": changed,
        "actions": ["make %s with Python %s by %s" % (wanted.prefix, wanted.python, environment.engine)]
        if changed
        else [],
        "diff": {"before": "" if changed else line, "after": line},
        "prefix": wanted.prefix,
        "python": os.path.join(wanted.prefix, "bin", "python"),
        "python_version": have or wanted.python,
        "engine": environment.engine,
        "packages": installed(wanted.prefix),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "python": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
            "engine": {"type": "str", "default": "auto"},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
