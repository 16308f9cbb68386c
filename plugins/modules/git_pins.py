#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: git_pins
short_description: Keep git checkouts at pinned commits
version_added: 0.1.0
description:
  - Brings a list of checkouts to their commits, several at once.
  - A checkout that already stands at its commit costs no network, so a second run works while the network does not.
  - New checkouts appear under their final name only when they are complete. Local changes are never thrown away.
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
  repos:
    description: The checkouts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name for messages and results; the directory name when not given.
        type: str
      url:
        description: URL of the repository.
        type: str
        required: true
      commit:
        description: Full commit id, 40 hex digits.
        type: str
        required: true
      dest:
        description: Directory of the checkout.
        type: path
        required: true
  parallel:
    description: How many are brought at once.
    type: int
    default: 4
  retries:
    description: How often a failed fetch is tried again, unless the answer is final (no such repository).
    type: int
    default: 3
  filter:
    description: Partial clone filter. Empty for none.
    type: str
    default: blob:none
requirements:
  - git on the target
"""

EXAMPLES = r"""
- name: Check out the WebUI at version 1.10.1
  sdops.webui.git_pins:
    repos:
      - url: https://github.com/AUTOMATIC1111/stable-diffusion-webui.git
        commit: 82a973c04367123ae98bd9abdf80d9eda9b910e2
        dest: /root/autodl-tmp/stable-diffusion-webui
"""

RETURN = r"""
repos:
  description: What became of each checkout.
  returned: always
  type: list
  elements: dict
  sample:
    - name: BLIP
      dest: /root/autodl-tmp/stable-diffusion-webui/repositories/BLIP
      before: null
      after: 48211a1594f1321b00f14c9f7a5b4813144b2fb9
      status: changed
actions:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["clone https://github.com/salesforce/BLIP.git at 48211a1594f1 into /root/BLIP"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.git.pins import apply_all, make_pin


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repos": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str"},
                    "url": {"type": "str", "required": True},
                    "commit": {"type": "str", "required": True},
                    "dest": {"type": "path", "required": True},
                },
            },
            "parallel": {"type": "int", "default": 4},
            "retries": {"type": "int", "default": 3},
            "filter": {"type": "str", "default": "blob:none"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        pins = [make_pin(entry) for entry in p["repos"]]
        if module.check_mode and not module.get_bin_path("git"):
            module.warn("git is not installed yet; the plan assumes that nothing is checked out.")
        outcomes = apply_all(pins, p["parallel"], module.check_mode, p["retries"], p["filter"])
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    result = {
        "changed": any(o.action for o in outcomes),
        "actions": [o.action for o in outcomes if o.action],
        "repos": [
            {
                "name": o.pin.name,
                "dest": o.pin.dest,
                "before": o.before,
                "after": o.after,
                "status": "failed" if o.error else "changed" if o.action else "ok",
            }
            for o in outcomes
        ],
        "diff": {
            "before": "".join("%s %s\n" % (o.pin.dest, o.before or "absent") for o in outcomes if o.action),
            "after": "".join("%s %s\n" % (o.pin.dest, o.after) for o in outcomes if o.action),
        },
    }
    errors = [o.error for o in outcomes if o.error]
    if errors:
        module.fail_json(msg="%d of %d checkouts failed. %s" % (len(errors), len(outcomes), " ".join(errors)), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
