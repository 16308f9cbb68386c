#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_status_info
short_description: Versions, GPUs, disks, models, extensions and programs of a host with the WebUI
version_added: 0.1.0
description:
  - Reads in one call what there is to know of an installed WebUI. What cannot be read is reported as absent.
  - Runs on the host's own Python (3.8 or newer) without further packages, and starts C(nvidia-smi) only.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  webui_dir:
    description: Directory of the WebUI's checkout.
    type: path
    required: true
  data_dir:
    description: Directory of its models and extensions, by default that of the checkout.
    type: path
  environment:
    description: Prefix of its Python environment.
    type: path
    required: true
  state_dir:
    description: Directory in which the roles record what is installed.
    type: path
    required: true
  supervisor_dir:
    description: Directory of supervisord.
    type: path
    required: true
  url:
    description: Address of the WebUI on the host.
    type: str
    required: true
  nvidia_smi:
    description: Name or path of C(nvidia-smi).
    type: str
    default: nvidia-smi
  disks:
    description: Paths whose disks are read. They need not exist.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Read the status of the WebUI
  sdops.webui.webui_status_info:
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    environment: /root/autodl-tmp/envs/StableDiffusion
    state_dir: /opt/sdops/webui
    supervisor_dir: /opt/sdops/supervisor
    url: http://127.0.0.1:6006
    disks: [/root/autodl-tmp, /]
  register: webui
"""

RETURN = r"""
status:
  description: The state of the host.
  returned: always
  type: dict
  contains:
    version:
      description: C(version) and C(commit) as they were recorded, and the commit of the C(checkout). Empty for what is not known.
      type: dict
      returned: always
      sample:
        version: 1.10.1
        commit: 82a973c04367123ae98bd9abdf80d9eda9b910e2
        checkout: 82a973c04367123ae98bd9abdf80d9eda9b910e2
    packages:
      description: Versions of torch, xformers and gradio, of those that are installed.
      type: dict
      returned: always
      sample: {torch: 2.1.2+cu121, gradio: 3.41.2}
    gpus:
      description: The GPUs with C(memory_used) and C(memory_total) in bytes and C(utilization) in percent, null for what is not reported.
      type: list
      elements: dict
      returned: always
      sample: [{index: 0, name: NVIDIA GeForce RTX 4090, memory_used: 3145728000, memory_total: 25757220864, utilization: 12}]
    disks:
      description: By path, C(free) and C(total) in bytes, null where the file system does not tell.
      type: dict
      returned: always
      sample: {/: {free: 21474836480, total: 32212254720}}
    models:
      description: By kind, how many models there are, and their size in bytes.
      type: dict
      returned: always
      sample: {checkpoint: {count: 2, bytes: 8530240000}}
    extensions:
      description: Names of those that are C(enabled) and C(disabled) in the WebUI's settings.
      type: dict
      returned: always
      sample: {enabled: [adetailer, lobe-theme], disabled: []}
    programs:
      description: The programs of supervisord, C(seconds) since they were started; null where it does not answer.
      type: list
      elements: dict
      returned: always
      sample: [{name: webui, state: RUNNING, pid: 1200, seconds: 3600}]
    answers:
      description: Whether the WebUI answers.
      type: bool
      returned: always
      sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.webui_status import read_status


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webui_dir": {"type": "path", "required": True},
            "data_dir": {"type": "path"},
            "environment": {"type": "path", "required": True},
            "state_dir": {"type": "path", "required": True},
            "supervisor_dir": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "nvidia_smi": {"type": "str", "default": "nvidia-smi"},
            "disks": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    options = {**module.params, "data_dir": module.params["data_dir"] or module.params["webui_dir"]}
    module.exit_json(changed=False, status=read_status(options))


if __name__ == "__main__":
    main()
