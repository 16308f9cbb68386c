#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
short_description: Models in the directories of the WebUI
version_added: 0.1.0
description:
  - Brings a list of models from Hugging Face, Civitai, plain URLs or the target's own disk into the directories where the
    WebUI looks for them, several at once.
  - Every file is verified (size and hash as its source tells, structure by its format) before it appears under its final name.
  - What was placed is recorded below O(webui_dir), so a second run costs a stat for each file and no network.
  - A file that already lies there is verified and adopted. An interrupted download is resumed if the file is still the same.
  - While files are being fetched, a line for each tells how far it is, every C(sdops_progress_interval) seconds (a variable,
    5 by default; 0 for none).
author: The sdops.webui authors
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.transfer
attributes:
  check_mode:
    support: full
    details: Sources are asked for metadata only; what cannot be asked yet is reported as unresolved.
  diff_mode:
    support: full
  idempotent:
    support: full
  action:
    support: full
    details: Shows the progress. For that the module runs detached on the target, and its arguments lie in Ansible's
      temporary directory there (mode 0700) until it has begun, even where pipelining would keep them off the disk.
  async:
    support: full
    details: With C(async) there is no progress to see.
notes:
  - Ctrl-C and the task keyword C(timeout) stop the module on the target. What it has fetched is kept, and the next run
    resumes.
  - When the connection breaks, the download goes on. The task looks again for up to five minutes before the host counts as
    unreachable.
  - With C(no_log) on the task, the lines show a percentage and no file names.
options:
  webui_dir:
    description: Directory of the WebUI.
    type: path
    required: true
  models:
    description:
      - The models. A string is a source. C(hf://OWNER/REPO/PATH@REVISION), C(civitai://VERSION_ID), which may end in
        C(?fileId=) or C(?type=&format=&size=&fp=), an AIR URN, C(https://...) or C(file:///...).
      - A mapping has C(source) and may have C(kind), C(name), C(sha256), C(config) (a source, placed as C(NAME.yaml) beside it)
        and C(vae) (a source, placed as C(NAME.vae.EXT) beside it).
      - Kinds are C(checkpoint), C(lora), C(embedding), C(vae), C(hypernetwork), C(upscaler), C(codeformer), C(gfpgan),
        C(controlnet), C(adetailer) and C(additional_networks_lora). Civitai tells the kind, other sources do not.
    type: list
    elements: raw
    required: true
  state:
    description: V(absent) removes what this module placed for these sources, and nothing else.
    type: str
    choices: [present, absent]
    default: present
  parallel:
    description: How many models are brought at once.
    type: int
    default: 2
  verify:
    description: V(recorded) trusts size and time of what was placed before, V(always) hashes it again.
    type: str
    choices: [recorded, always]
    default: recorded
  cache_dir:
    description: Content-addressed cache, may be shared between hosts. One host downloads, the others copy.
    type: path
  progress_file:
    description:
      - JSON file that is updated about every second while bytes arrive, for programs that watch. It stays.
      - It is not needed for the progress that Ansible shows.
    type: path
"""

EXAMPLES = r"""
- name: Bring a checkpoint and a LoRA
  sdops.webui.model_files:
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    models:
      - source: hf://stable-diffusion-v1-5/stable-diffusion-v1-5/v1-5-pruned-emaonly.safetensors@main
        kind: checkpoint
      - source: civitai://112969?type=Model&format=SafeTensor
        name: FilmVelvia3.safetensors
"""

RETURN = r"""
models:
  description: One entry for each file. C(status) is ok, fetched, adopted, copied, from cache, removed, failed; in check mode fetch,
    adopt, unresolved.
  returned: always
  type: list
  elements: dict
  sample:
    - name: FilmVelvia3.safetensors
      kind: lora
      path: /root/autodl-tmp/stable-diffusion-webui/models/Lora/FilmVelvia3.safetensors
      sha256: 6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa
      bytes: 151112345
      source: civitai://112969?type=Model&format=SafeTensor
      revision: "112969"
      status: fetched
      seconds: 12.5
bytes_planned:
  description: Bytes that would be fetched, as far as the sources tell.
  returned: in check mode
  type: int
  sample: 4265146304
bytes_fetched:
  description: Bytes of the files that were fetched.
  returned: outside check mode
  type: int
  sample: 4265146304
disk_free:
  description: Free bytes on the disk of O(webui_dir).
  returned: always
  type: int
  sample: 50000000000
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [fetch models/Lora/FilmVelvia3.safetensors]
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.models.arguments import TRANSFER, make_placer
from ..module_utils.models.spec import parse

CHANGES = {"fetched", "adopted", "copied", "from cache", "removed", "fetch", "adopt", "unresolved"}


def disk_free(path: str) -> int:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webui_dir": {"type": "path", "required": True},
            "models": {"type": "list", "elements": "raw", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "parallel": {"type": "int", "default": 2},
            "verify": {"type": "str", "choices": ["recorded", "always"], "default": "recorded"},
            "cache_dir": {"type": "path"},
            "progress_file": {"type": "path"},
            **TRANSFER,
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        specs = [parse(entry) for entry in p["models"]]
        placer = make_placer(p, p["webui_dir"], module.check_mode)
        if p["state"] == "present":
            entries = placer.place_all(specs, p["parallel"])
        else:
            entries = [entry for spec in specs for entry in placer.remove(spec)]
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    touched = [e for e in entries if e["status"] in CHANGES]
    verb = {
        "from cache": "take from the cache",
        "fetched": "fetch",
        "adopted": "adopt",
        "copied": "copy",
        "removed": "remove",
    }
    result = {
        "changed": bool(touched),
        "models": entries,
        "disk_free": disk_free(p["webui_dir"]),
        "actions": ["%s %s" % (verb.get(e["status"], "fetch"), e["path"]) for e in touched],
        "diff": {
            "before": "".join("%s\n" % e["path"] for e in touched if e["status"] == "removed"),
            "after": "".join("%s\n" % e["path"] for e in touched if e["status"] != "removed"),
        },
    }
    key = "bytes_planned" if module.check_mode else "bytes_fetched"
    result[key] = sum(e["bytes"] or 0 for e in touched if e["status"] in ("fetch", "fetched"))
    for entry in entries:
        if entry["status"] == "unresolved":
            module.warn("%s cannot be asked for yet: %s" % (entry["source"], entry["reason"]))
    failed = [e for e in entries if e["status"] == "failed"]
    if failed:
        module.fail_json(
            msg="%d of %d files failed. %s"
            % (len(failed), len(entries), " ".join("%s: %s" % (e["source"], e["reason"]) for e in failed)),
            **result,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
