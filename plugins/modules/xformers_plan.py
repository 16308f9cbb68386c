#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xformers_plan
short_description: Decide which xformers fits an environment
version_added: 0.1.0
description:
  - Looks at torch, its CUDA, Python and xformers in an environment, and at the GPU, and decides where xformers comes from.
  - Changes nothing.
author: The sdops.webui authors
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  python:
    description: Interpreter of the environment.
    type: path
    required: true
  version:
    description: V(auto) or the version that is wanted.
    type: str
    default: auto
  gpu:
    description: What M(sdops.webui.gpu_facts) found.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Decide
  sdops.webui.xformers_plan:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    gpu: "{{ ansible_facts['sdops_gpu'] }}"
"""

RETURN = r"""
decision:
  description: V(none_needed), V(wheel), V(build), V(skip), or V(unknown) in check mode on a host without the environment.
  returned: always
  type: str
  sample: wheel
requirement:
  description: What to install.
  returned: when RV(decision=wheel)
  type: str
  sample: xformers==0.0.23.post1
index_hint:
  description: Index that has the wheel for this CUDA, when the normal one does not.
  returned: when RV(decision=wheel)
  type: str
  sample: https://download.pytorch.org/whl/cu118
reason:
  description: Why.
  returned: always
  type: str
  sample: xformers 0.0.23.post1 was built against torch 2.1.2.
torch:
  description: Version of torch.
  returned: always
  type: str
  sample: 2.1.2+cu121
cuda:
  description: CUDA version of that torch.
  returned: always
  type: str
  sample: "12.1"
python_version:
  description: Version of the interpreter.
  returned: always
  type: str
  sample: 3.10.6
xformers_installed:
  description: Version of xformers in the environment.
  returned: always
  type: str
  sample: 0.0.23.post1
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.process import run
from ..module_utils.python_env.inspect import inspect
from ..module_utils.xformers.resolver import as_dict, resolve, torch_cuda


def work(module: AnsibleModule) -> dict:
    p = module.params
    facts = {"torch": None, "cuda": None, "python_version": None, "xformers_installed": None}
    if module.check_mode and not os.path.exists(p["python"]):
        return {"decision": "unknown", "reason": "the environment does not exist yet.", "requirement": None, **facts}
    state = inspect(p["python"])
    found = state["distributions"]
    torch = found.get("torch", {}).get("version")
    cuda = torch_cuda(torch or "")
    if torch and not cuda and "+cpu" not in torch:
        # the package index's own builds carry no label: ask torch itself, which takes a second
        done = run([p["python"], "-c", "import torch; print(torch.version.cuda or '')"], timeout=300)
        cuda = done.out.strip() or None if done.rc == 0 else None
    gpus = p["gpu"].get("gpus") or []
    capability = min((g["capability"] for g in gpus if g.get("capability")), key=lambda c: float(c), default=None)
    installed = found.get("xformers", {}).get("version")
    plan = resolve(torch, cuda, state["python"], capability, installed, p["version"])
    facts.update(torch=torch, cuda=cuda, python_version=state["python"], xformers_installed=installed)
    return {**as_dict(plan), **facts}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "version": {"type": "str", "default": "auto"},
            "gpu": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **work(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
