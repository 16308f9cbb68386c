#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tree_snapshot
short_description: Save directories and files, to restore them when a change fails
version_added: 0.1.0
description:
  - Saves directories such as Python environments. Big files are hard links and take no space; small ones become two, so that
    whoever writes into one does not reach the snapshot.
  - Restoring is a rename. An interrupted run is resumed. A big file that somebody has written into, and not replaced,
    cannot be restored; the module fails and names it, after all the rest is in its place.
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
  snapshot_dir:
    description: Directory of the snapshot. It has to be on the disk of the O(trees).
    type: path
    required: true
  trees:
    description: Directories to save. Required with O(state=kept).
    type: list
    elements: path
    default: []
  files:
    description: Files to save. One that does not exist is removed when the snapshot is restored.
    type: list
    elements: path
    default: []
  state:
    description:
      - V(kept) makes the snapshot, unless there is one already.
      - V(restored) puts everything back and removes the snapshot. Without one nothing is done.
      - V(absent) removes the snapshot.
    type: str
    choices: [kept, restored, absent]
    default: kept
"""

EXAMPLES = r"""
- name: Save the environment before an upgrade
  sdops.webui.tree_snapshot:
    snapshot_dir: /root/autodl-tmp/envs/StableDiffusion.before
    trees: [/root/autodl-tmp/envs/StableDiffusion]

- name: Put it back
  sdops.webui.tree_snapshot:
    snapshot_dir: /root/autodl-tmp/envs/StableDiffusion.before
    state: restored
"""

RETURN = r"""
trees:
  description: Directories of the snapshot that exists, was restored, or was removed.
  returned: success
  type: list
  elements: str
  sample: [/root/autodl-tmp/envs/StableDiffusion]
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [save /root/autodl-tmp/envs/StableDiffusion]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.snapshot import Snapshot

SNAPSHOT_VERBS = {"kept": "save", "restored": "restore", "absent": "delete the snapshot of"}


def apply_snapshot_state(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    snapshot = Snapshot(p["snapshot_dir"])
    found = snapshot.manifest()
    changed = (found is None) == (p["state"] == "kept")
    trees = found["trees"] if found else p["trees"] if p["state"] == "kept" else []
    if changed and not module.check_mode:
        if p["state"] == "kept":
            snapshot.create(p["trees"], p["files"])
        elif p["state"] == "restored":
            snapshot.restore()
        else:
            snapshot.delete()
    actions = ["{} {}".format(SNAPSHOT_VERBS[p["state"]], tree) for tree in trees] if changed else []
    return {"changed": changed, "trees": trees, "actions": actions}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "snapshot_dir": {"type": "path", "required": True},
            "trees": {"type": "list", "elements": "path", "default": []},
            "files": {"type": "list", "elements": "path", "default": []},
            "state": {"type": "str", "choices": ["kept", "restored", "absent"], "default": "kept"},
        },
        supports_check_mode=True,
    )
    if module.params["state"] == "kept" and not module.params["trees"]:
        module.fail_json(msg="trees is empty: name the directories to save.")
    try:
        module.exit_json(**apply_snapshot_state(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
