#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xformers_info
short_description: Decide which xformers fits an environment
version_added: 0.1.0
description:
  - Looks at torch, its CUDA, Python and xformers in an environment, and at the GPU, and decides where xformers comes from.
  - Changes nothing.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  python:
    description: Interpreter of the environment.
    type: path
    required: true
  version:
    description: V(auto) or the version that is wanted.
    type: str
    default: auto
  state_file:
    description:
      - JSON file that says what the installed xformers was installed for, C(version), C(torch), C(cuda) and
        C(capabilities) (those that it was built for; empty for a published wheel). Its own metadata does not say so.
      - Without the file, or when it is of another version, only the metadata count.
    type: path
  index_base:
    description: Base URL of PyTorch's indexes, that of a mirror for instance.
    type: str
    default: https://download.pytorch.org/whl
  gpu:
    description:
      - What M(sdops.webui.gpu_facts) found, C(ansible_facts['sdops_gpu']).
      - Without a GPU the decision is the one for GPUs that the published wheels know, so that a box can be prepared in a
        no-GPU mode.
    type: dict
    default: {}
  capabilities:
    description: Compute capabilities to decide for, such as V(8.6), instead of those of O(gpu).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at the GPU
  sdops.webui.gpu_facts:

- name: Decide
  sdops.webui.xformers_info:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    gpu: "{{ ansible_facts['sdops_gpu'] }}"
  register: plan
"""

RETURN = r"""
decision:
  description:
    - V(none_needed) when one that fits is installed.
    - V(wheel) when a published one fits; RV(requirement) and RV(index_hint) say which.
    - V(build) when none was published for this combination.
    - V(unsupported) when none can work with this torch on this GPU; RV(reason) says what to change.
    - V(skip) when it is of no use here, as with a CPU build of torch.
    - V(unknown) when there is no torch in the environment yet, or (in check mode) no environment.
  returned: success
  type: str
  sample: wheel
requirement:
  description: What to install, or to build where that is known; else null.
  returned: success
  type: str
  sample: xformers==0.0.23.post1
index_hint:
  description: Index that has the wheel for this CUDA; null for the normal package index.
  returned: success
  type: str
  sample: https://download.pytorch.org/whl/cu118
reason:
  description: Why.
  returned: success
  type: str
  sample: xformers 0.0.23.post1 was built against torch 2.1.2 and CUDA 12.1.
torch:
  description: Version of torch.
  returned: success
  type: str
  sample: 2.1.2+cu121
cuda:
  description: CUDA version of that torch; null for a CPU build.
  returned: success
  type: str
  sample: "12.1"
python_version:
  description: Version of the interpreter.
  returned: success
  type: str
  sample: 3.10.6
xformers_installed:
  description: Version of xformers in the environment.
  returned: success
  type: str
  sample: 0.0.23.post1
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.filesystem import load_json
from ..module_utils.xformers.environment import TorchFacts, inspect_torch
from ..module_utils.xformers.resolver import PYTORCH_INDEX, Installed, Plan, as_dict, resolve


def read_state_file(path: str | None) -> dict[str, Any] | None:
    """Content of the state file, None where there is none that can be read."""
    try:
        found = load_json(path or "")
        return {
            "capabilities": [str(a) for a in found["capabilities"]],
            **{k: found[k] for k in ("version", "torch", "cuda")},
        }
    except (OSError, ValueError, TypeError, KeyError):
        return None


def decide(facts: TorchFacts, capabilities: list[str], version: str, made: dict[str, Any] | None, index: str) -> Plan:
    if facts.trouble:
        return Plan("unknown", facts.trouble)
    if facts.hip:
        return Plan(
            "skip", f"torch {facts.torch} is built for AMD (ROCm), for which none of the published xformers is."
        )
    installed = Installed(facts.xformers, facts.xformers_torch, made) if facts.xformers else None
    return resolve(facts.torch, facts.cuda, facts.python or "", capabilities, installed, version, index)


def plan_xformers(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    facts = TorchFacts(None, None, None, None, None, None)
    if module.check_mode and not os.path.exists(p["python"]):
        plan = Plan("unknown", "the environment of {} does not exist yet.".format(p["python"]))
    else:
        facts = inspect_torch(p["python"])
        seen = [g["capability"] for g in p["gpu"].get("gpus") or [] if g.get("capability")]
        plan = decide(facts, p["capabilities"] or seen, p["version"], read_state_file(p["state_file"]), p["index_base"])
    return {
        **as_dict(plan),
        "torch": facts.torch,
        "cuda": facts.cuda,
        "python_version": facts.python,
        "xformers_installed": facts.xformers,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "version": {"type": "str", "default": "auto"},
            "state_file": {"type": "path"},
            "index_base": {"type": "str", "default": PYTORCH_INDEX},
            "gpu": {"type": "dict", "default": {}},
            "capabilities": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **plan_xformers(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
