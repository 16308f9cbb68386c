#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: roop_nsfw_patch
short_description: Keep the safety check of the roop extension working
version_added: 0.1.0
description:
  - The extension asks a detector before it swaps a face. As it is, the detector's model is loaded again for every image, and is
    downloaded when the extension is imported, which takes it down behind a bad network.
  - O(state=hardened) puts a check in its place that loads the model once, never downloads, logs what it does, and swaps nothing
    when the detector is missing or fails.
  - A check that somebody has removed or short-circuited is found and repaired by both states. Nothing here turns it off.
  - A file that is none of these is left untouched, and the module fails.
  - It fails as well where C(scripts/swapper.py) swaps faces without asking the check, since that would then be of no use.
author: The sdops.webui authors (!UNKNOWN)
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
  path:
    description: Directory of the extension, or its C(scripts/cimage.py).
    type: path
    required: true
  state:
    description:
      - V(hardened) installs our check.
      - V(upstream) restores the original, byte by byte, from the backup or from the extension's git history.
    type: str
    choices: [hardened, upstream]
    default: hardened
  threshold:
    description: Score above which an image is left alone, above 0 and at most 0.7, which is upstream's. Lower is stricter.
    type: float
    default: 0.7
notes:
  - The first original is kept beside the file, as C(cimage.py.before-sdops).
  - The WebUI reads the file when it starts.
  - The detector's files C(detector.onnx) and C(classes) have to be in C(~/.ifnude) of the WebUI's user. Without them no face is
    swapped, and neither when C(classes) has other names than the detector's.
"""

EXAMPLES = r"""
- name: Harden the check
  sdops.webui.roop_nsfw_patch:
    path: /root/autodl-tmp/stable-diffusion-webui/extensions/sd-webui-roop

- name: Make it stricter
  sdops.webui.roop_nsfw_patch:
    path: /root/autodl-tmp/stable-diffusion-webui/extensions/sd-webui-roop
    threshold: 0.5
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /root/autodl-tmp/stable-diffusion-webui/extensions/sd-webui-roop/scripts/cimage.py
status:
  description: What was found, V(upstream), V(hardened) or V(bypassed).
  returned: success
  type: str
  sample: bypassed
reason:
  description: Why it counts as bypassed, else empty.
  returned: success
  type: str
  sample: the result is always the same
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [repair the check that was bypassed, install the hardened check with threshold 0.7]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.roop.patch import SafetyCheckPatch, check_threshold


def apply_safety_check(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    check_threshold(p["threshold"])
    patch = SafetyCheckPatch(p["path"])
    if module.check_mode and not os.path.exists(p["path"]):  # the extension would come first
        actions = (
            ["install the hardened check with threshold {}".format(p["threshold"])] if p["state"] == "hardened" else []
        )
        return {"changed": bool(actions), "path": patch.file, "status": "upstream", "reason": "", "actions": actions}
    found = patch.inspect()
    patch.require_checked_swapper()
    before, after = patch.read(), patch.target_content(p["state"], p["threshold"])
    actions = []
    if before != after:
        if found.status == "bypassed":
            actions.append(f"repair the check that was bypassed ({found.reason})")
        if p["state"] == "hardened":
            actions.append("install the hardened check with threshold {}".format(p["threshold"]))
        else:
            actions.append("restore the original check")
        if not module.check_mode:
            patch.write(after)
    return {
        "changed": bool(actions),
        "path": patch.file,
        "status": found.status,
        "reason": found.reason,
        "actions": actions,
        "diff": {
            "before": before.decode("utf-8", "replace"),
            "after": after.decode(),
            "before_header": patch.file,
            "after_header": patch.file,
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["hardened", "upstream"], "default": "hardened"},
            "threshold": {"type": "float", "default": 0.7},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply_safety_check(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
