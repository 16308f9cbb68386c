#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: content_key
short_description: Say whether a costly check has to run again
version_added: 0.1.0
description:
  - Compares what a check depends on (values, files, a Python environment) with what it was when the check last succeeded.
  - V(checked) says in RV(stale) whether the check has to run. After it has succeeded, V(recorded) with the same options writes the key.
  - A state file that is missing or damaged means that the check has to run.
author: The sdops.webui authors (!UNKNOWN)
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
  name:
    description: Name of the check in the state file.
    type: str
    required: true
  state_file:
    description: JSON file with the keys of the host. Its directory has to exist.
    type: path
    required: true
  values:
    description: Settings that the check depends on. The state file holds their hash only.
    type: dict
    default: {}
  files:
    description: Files whose content the check depends on. That one is missing counts, too.
    type: list
    elements: path
    default: []
  environment:
    description:
      - Prefix of a Python environment that the check depends on. One that was deleted or recreated is noticed, and a distribution
        that was there and has another version now, is gone or half installed. Distributions that came later do not matter.
    type: path
  distributions:
    description: Distributions of O(environment) that count; all of them where none is given.
    type: list
    elements: str
    default: []
  ignored_distributions:
    description: Distributions of O(environment) that do not count, since somebody else installs them.
    type: list
    elements: str
    default: []
  force:
    description: Say that the check has to run in any case.
    type: bool
    default: false
  state:
    description: V(checked) compares and changes nothing, V(recorded) writes the key.
    type: str
    choices: [checked, recorded]
    default: checked
"""

EXAMPLES = r"""
- name: Compare the inputs of the verification
  sdops.webui.content_key: &key
    name: verification
    state_file: /opt/sdops/webui/content-keys.json
    values: {version: 1.10.1}
    files: [/root/autodl-tmp/stable-diffusion-webui/requirements_versions.txt]
    environment: /root/autodl-tmp/envs/StableDiffusion
  register: verification

- name: Verify the installation
  ansible.builtin.command:
    argv: [/root/autodl-tmp/envs/StableDiffusion/bin/python, launch.py, --exit]
    chdir: /root/autodl-tmp/stable-diffusion-webui
  changed_when: false
  when: verification.stale
"""

RETURN = r"""
stale:
  description: Whether the check has to run.
  returned: success
  type: bool
  sample: true
reason:
  description: Why it has to run; empty where it does not.
  returned: success
  type: str
  sample: torch was 2.1.2+cu121 and is gone
actions:
  description: What was written, or would be.
  returned: success
  type: list
  elements: str
  sample: [record the key of verification]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.content_key import compute_key, explain_difference, load_keys, record_key
from ..module_utils.errors import SdopsError


def compare_or_record(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    key = compute_key(p["values"], p["files"], p["environment"], p["distributions"], p["ignored_distributions"])
    reason = explain_difference(load_keys(p["state_file"]).get(p["name"]), key)
    if p["state"] == "checked":
        reason = "it was asked for" if p["force"] else reason
        return {"changed": False, "stale": bool(reason), "reason": reason, "actions": []}
    actions = [f"record the key of {p['name']}"] if reason else []
    if actions and not module.check_mode:
        record_key(p["state_file"], p["name"], key)
    return {"changed": bool(actions), "stale": False, "reason": "", "actions": actions}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state_file": {"type": "path", "required": True},
            "values": {"type": "dict", "default": {}},
            "files": {"type": "list", "elements": "path", "default": []},
            "environment": {"type": "path"},
            "distributions": {"type": "list", "elements": "str", "default": []},
            "ignored_distributions": {"type": "list", "elements": "str", "default": []},
            "force": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["checked", "recorded"], "default": "checked"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**compare_or_record(module))
    except (SdopsError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
