#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: huggingface_download
short_description: One file from the Hugging Face Hub
version_added: 0.1.0
description:
  - Fetches one file from the Hugging Face Hub to a path, verified by size, hash and format before it appears there.
  - A file that already lies there and has the wanted hash is kept; another one stays, and the module fails, unless O(force) is set.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.transfer
attributes:
  check_mode:
    support: full
    details: The source is asked for metadata only.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  repo:
    description: Repository, C(OWNER/NAME).
    type: str
    required: true
  file:
    description: Path of the file in the repository.
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  dest:
    description: Path of the file, or a directory for it, which exists or is written with a slash at its end and is then made.
    type: path
    required: true
  force:
    description:
      - Whether another file that lies at O(dest) is replaced. By default it stays and the module fails, unless it is empty, a web page, a
        git-lfs pointer, or a truncated copy of the wanted file.
    type: bool
    default: false
  state_file:
    description:
      - JSON file that notes which file was placed at O(dest). One that is as noted is replaced when another one is wanted, and one of
        somebody else's is not. Without it only O(force) replaces a file.
    type: path
    version_added: 0.1.0
  sha256:
    description: SHA-256 that the file must have, besides the one that the Hub reports.
    type: str
"""

EXAMPLES = r"""
- name: Fetch a VAE
  sdops.webui.huggingface_download:
    repo: stabilityai/sd-vae-ft-mse-original
    file: vae-ft-mse-840000-ema-pruned.safetensors
    dest: /root/autodl-tmp/models/
"""

RETURN = r"""
path:
  description: Where the file is.
  returned: always
  type: str
  sample: /root/autodl-tmp/models/vae-ft-mse-840000-ema-pruned.safetensors
sha256:
  description: SHA-256 of the file, as far as it is known.
  returned: always
  type: str
  sample: 6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa
bytes:
  description: Size of the file, as far as it is known.
  returned: always
  type: int
  sample: 4265146304
revision:
  description: Commit that the revision stood at.
  returned: always
  type: str
  sample: "629b3ad3030ce36e15e70c5db7d91df0d60c627f"
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [fetch /root/autodl-tmp/models/vae-ft-mse-840000-ema-pruned.safetensors]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.models.arguments import TRANSFER_ARGUMENTS, install_one_file, list_tokens
from ..module_utils.models.spec import ModelSpec
from ..module_utils.secrets import mask_secrets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "dest": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
            "state_file": {"type": "path"},
            "sha256": {"type": "str"},
            **TRANSFER_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    p = module.params
    mask_secrets(module, list_tokens(p))
    locator = {key: p[key] for key in ("repo", "file", "revision")}
    source = "hf://{repo}/{file}@{revision}".format(**locator)
    try:
        result = install_one_file(
            ModelSpec(source, "huggingface", locator, sha256=p["sha256"]), p, p["dest"], module.check_mode
        )
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    for sentence in result.pop("warnings"):
        module.warn(sentence)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
