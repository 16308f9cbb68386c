#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xray_client_config
short_description: What an Xray client runs with
version_added: 0.1.0
description:
  - Makes a config and an installed Xray-core the ones that the client starts with, both together, after that core has taken
    that config (C(xray run -test)). What it refuses changes nothing.
  - Remembers what was in use before, so that it can be restored when the new config turns out not to work.
  - A rejection is reported in the core's words without anything that may be secret in the config.
  - Starts and stops nothing; M(sdops.webui.supervisor_program) does, by RV(inputs).
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
    details: A core that is not installed yet cannot be asked about the config.
  diff_mode:
    support: none
    details: The config is secret.
  idempotent:
    support: full
options:
  dest:
    description: Directory of the releases, as M(sdops.webui.xray_core) fills it. The config is C(config.json) in it, mode 0600.
    type: path
    required: true
  version:
    description: Version of the core. Required when O(state=present).
    type: str
  config:
    description: The client config (secret), JSON. Required when O(state=present).
    type: str
  state:
    description: V(present) takes the config and the core. V(previous) restores what was in use before the last change.
    type: str
    choices: [present, previous]
    default: present
"""

EXAMPLES = r"""
- name: Take the client config
  sdops.webui.xray_client_config:
    dest: /opt/sdops/xray
    version: 26.7.28
    config: "{{ lookup('ansible.builtin.template', 'config.json.j2') }}"
  no_log: true
"""

RETURN = r"""
inputs:
  description: A hash of all that Xray reads when it starts (version, config, lists). Another one means that it has to be restarted.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
version:
  description: The core that the client starts with, empty when there is none.
  returned: success
  type: str
  sample: 26.7.28
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [write /opt/sdops/xray/config.json, change from Xray-core 26.3.27 to 26.7.28]
"""


from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, XrayClientError
from ..module_utils.filesystem import parse_json
from ..module_utils.xray.client import ActiveSetup, XrayClient
from ..module_utils.xray.release import query_version, strip_version_prefix


def apply_client_config(module: AnsibleModule) -> dict:
    p = module.params
    client = XrayClient(p["dest"])
    before = client.read_active()
    if p["state"] == "previous":
        target = client.read_previous() or before
    else:
        try:
            parse_json(p["config"])
        except ValueError as exc:
            raise XrayClientError("The client config is no JSON, so it was not applied.") from exc
        target = ActiveSetup(strip_version_prefix(p["version"]), p["config"])
    actions = []
    if target.config != before.config:
        actions.append(f"write {client.config_file}")
    if target.version != before.version:
        actions.append(f"change from Xray-core {before.version} to {target.version}")
    if p["state"] == "present" and actions:
        if not module.check_mode or query_version(client.installer.program_path(target.version or "")):
            client.test_config(target)
        if not module.check_mode:
            client.activate(target)
    elif actions and not module.check_mode:
        client.restore(target)
    return {
        "changed": bool(actions),
        "actions": actions,
        "inputs": client.hash_inputs(target),
        "version": target.version or "",
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "version": {"type": "str"},
            "config": {"type": "str", "no_log": True},
            "state": {"type": "str", "choices": ["present", "previous"], "default": "present"},
        },
        required_if=[["state", "present", ["version", "config"]]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply_client_config(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
