#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Facts about NVIDIA GPUs
version_added: 0.1.0
description:
  - Queries C(nvidia-smi) for the GPUs. A host without one, or with a broken driver, is a fact and not a failure.
  - Changes nothing.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  nvidia_smi:
    description: Name or path of C(nvidia-smi). A name is looked for on C(PATH) and where containers and WSL put it.
    type: str
    default: nvidia-smi
"""

EXAMPLES = r"""
- name: Gather GPU facts
  sdops.webui.gpu_facts:

- name: Fail when there is none
  ansible.builtin.assert:
    that: ansible_facts['sdops_gpu'].present
    fail_msg: "{{ ansible_facts['sdops_gpu'].reason }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts to add.
  returned: always
  type: dict
  contains:
    sdops_gpu:
      description:
        - C(present), whether there is a GPU that works; C(reason), why not, else empty; C(driver), its version.
        - C(gpus), a list with C(index), C(name), C(memory_mb) (MiB, null when not reported) and C(capability) (null when unknown).
          Drivers older than 510 do not report the capability; then it comes from the name.
      type: dict
      returned: always
      sample:
        present: true
        reason: ""
        driver: 550.90.07
        gpus: [{index: 0, name: NVIDIA RTX A5000, memory_mb: 24564, capability: "8.6"}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.gpu.smi import read_gpu_facts


def main() -> None:
    module = AnsibleModule(
        argument_spec={"nvidia_smi": {"type": "str", "default": "nvidia-smi"}}, supports_check_mode=True
    )
    module.exit_json(changed=False, ansible_facts={"sdops_gpu": read_gpu_facts(module.params["nvidia_smi"])})


if __name__ == "__main__":
    main()
