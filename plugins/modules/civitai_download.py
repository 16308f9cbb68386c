#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: civitai_download
short_description: One file from Civitai
version_added: 0.1.0
description:
  - Fetches one file from Civitai to a path, verified by size, hash and format before it appears there.
  - A file that already lies there and has the wanted hash is kept. Where Civitai reports only its first digits, these decide;
    where it tells none, the size does, to within 1 KiB. Another file stays, and the module fails, unless O(force) is set.
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
    details: A file of which Civitai reports neither hash nor size cannot be known again; with O(force) it is fetched each time.
options:
  version_id:
    description: Id of the model version.
    type: int
  model_id:
    description: Id of the model; its newest version is taken.
    type: int
  air:
    description: AIR URN, such as V(urn:air:sd1:lora:civitai:105000@112969). A layer in it says nothing about which file is meant.
    type: str
  file_id:
    description: Id of the file, when the version has several.
    type: int
  type:
    description: Type of the file, V(Model) or V(VAE) for example.
    type: str
  format:
    description: Format of the file, V(SafeTensor) or V(PickleTensor) for example.
    type: str
  size:
    description: V(full) or V(pruned).
    type: str
  fp:
    description: Precision, V(fp16) or V(fp32) for example.
    type: str
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
  sha256:
    description:
      - SHA-256 that the file must have. Alone, it also says which file is wanted.
      - It decides where Civitai lists another one for the file, with a warning.
    type: str
"""

EXAMPLES = r"""
- name: Fetch a LoRA
  sdops.webui.civitai_download:
    version_id: 112969
    dest: /root/autodl-tmp/models/FilmVelvia3.safetensors
    civitai_token: "{{ vault_civitai_token }}"
"""

RETURN = r"""
path:
  description: Where the file is.
  returned: always
  type: str
  sample: /root/autodl-tmp/models/FilmVelvia3.safetensors
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
  description: Id of the model version.
  returned: always
  type: str
  sample: "112969"
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [fetch /root/autodl-tmp/models/FilmVelvia3.safetensors]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.models.arguments import TRANSFER_ARGUMENTS, install_one_file, list_tokens
from ..module_utils.models.spec import ModelSpec, parse_source
from ..module_utils.secrets import mask_secrets


def find_source(p: dict) -> tuple:
    """(fields for the source, what to call it) from the module's options."""
    if p["air"]:
        found = parse_source(p["air"])
        locator, source = dict(found.locator), p["air"]
    else:
        which = next((key for key in ("version_id", "model_id") if p[key]), "sha256")
        locator, source = {which: str(p[which])}, f"civitai {which} {p[which]}"
    if p["file_id"]:
        locator["fileId"] = str(p["file_id"])
    locator.update({key: p[key] for key in ("type", "format", "size", "fp") if p[key]})
    return locator, source


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version_id": {"type": "int"},
            "model_id": {"type": "int"},
            "air": {"type": "str"},
            "file_id": {"type": "int"},
            "type": {"type": "str"},
            "format": {"type": "str"},
            "size": {"type": "str"},
            "fp": {"type": "str"},
            "dest": {"type": "path", "required": True},
            "force": {"type": "bool", "default": False},
            "sha256": {"type": "str"},
            **TRANSFER_ARGUMENTS,
        },
        required_one_of=[["version_id", "model_id", "air", "sha256"]],
        mutually_exclusive=[["version_id", "model_id", "air"]],
        supports_check_mode=True,
    )
    p = module.params
    mask_secrets(module, list_tokens(p))
    try:
        locator, source = find_source(p)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    try:
        result = install_one_file(
            ModelSpec(source, "civitai", locator, sha256=p["sha256"]), p, p["dest"], module.check_mode
        )
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    for sentence in result.pop("warnings"):
        module.warn(sentence)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
