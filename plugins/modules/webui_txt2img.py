#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_txt2img
short_description: Have the WebUI render one image
version_added: 0.1.0
description:
  - Renders an image through C(/sdapi/v1/txt2img) and keeps it as a PNG on the target.
  - A file that is a whole PNG and whose infotext has the wanted prompt, seed, steps, size and sampler is kept.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.webui_access
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  url:
    description: Base URL of the WebUI.
    type: str
    required: true
  dest:
    description: Path of the PNG.
    type: path
    required: true
  prompt:
    description: Prompt.
    type: str
    required: true
  negative_prompt:
    description: Negative prompt.
    type: str
    default: ""
  seed:
    description: Seed.
    type: int
    default: 1
  steps:
    description: Sampling steps.
    type: int
    default: 20
  width:
    description: Width in pixels, a multiple of 8.
    type: int
    default: 512
  height:
    description: Height in pixels, a multiple of 8.
    type: int
    default: 512
  sampler:
    description: Sampler.
    type: str
    default: Euler a
  cfg_scale:
    description: Guidance scale.
    type: float
    default: 7.0
  extra:
    description: More fields of the request, C(override_settings) for example.
    type: dict
    default: {}
  force:
    description: Render even if the file is there; it counts as changed when the bytes differ.
    type: bool
    default: false
  timeout:
    description: Seconds for rendering.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Render the test image
  sdops.webui.webui_txt2img:
    url: http://127.0.0.1:6006
    credentials_file: /opt/sdops/secrets/webui-credentials
    dest: /opt/sdops/webui/smoke_test.png
    prompt: a lighthouse at dawn
    seed: 7
"""

RETURN = r"""
path:
  description: Where the image is.
  returned: always
  type: str
  sample: /opt/sdops/webui/smoke_test.png
bytes:
  description: Its size.
  returned: when it exists
  type: int
  sample: 401234
sha256:
  description: Its SHA-256.
  returned: when it exists
  type: str
  sample: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
infotext:
  description: What the WebUI wrote into it.
  returned: when it exists
  type: str
  sample: "a lighthouse at dawn\\nSteps: 20, Sampler: Euler a, CFG scale: 7.0, Seed: 7, Size: 512x512"
seconds:
  description: How long rendering took.
  returned: when it was rendered
  type: float
  sample: 4.2
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [render /opt/sdops/webui/smoke_test.png]
"""

import base64
import binascii
import hashlib
import os
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, WebuiError
from ..module_utils.filesystem import read_regular, write_atomic
from ..module_utils.webui_api.access import ARGUMENTS, connect
from ..module_utils.webui_api.png import parse_infotext, read_text


def matches(data: bytes, p: dict) -> bool:
    """Whether ``data`` is a whole PNG of what ``p`` asks for."""
    try:
        info = parse_infotext(read_text(data).get("parameters", ""))
    except SdopsError:
        return False
    expected = {
        "prompt": p["prompt"].strip(),
        "negative_prompt": p["negative_prompt"].strip(),
        "Seed": str(p["seed"]),
        "Steps": str(p["steps"]),
        "Size": "{}x{}".format(p["width"], p["height"]),
    }
    # since 1.9 the WebUI takes a name such as "DPM++ 2M Karras" apart into a sampler and a schedule
    drawn = {info.get("Sampler", ""), "{} {}".format(info.get("Sampler", ""), info.get("Schedule type", ""))}
    return all(info.get(k, "") == v for k, v in expected.items()) and p["sampler"] in drawn


def render(p: dict) -> bytes:
    answer = connect(p).request(
        "/sdapi/v1/txt2img",
        {
            "prompt": p["prompt"],
            "negative_prompt": p["negative_prompt"],
            "seed": p["seed"],
            "steps": p["steps"],
            "width": p["width"],
            "height": p["height"],
            "sampler_name": p["sampler"],
            "cfg_scale": p["cfg_scale"],
            "send_images": True,
            "save_images": False,
            **p["extra"],
        },
        timeout=p["timeout"],
    )
    try:
        return base64.b64decode(answer["images"][0], validate=True)
    except (KeyError, IndexError, TypeError, binascii.Error) as exc:
        raise WebuiError("The WebUI at {} answered txt2img without an image.".format(p["url"])) from exc


def describe(path: str, data: bytes) -> dict:
    return {
        "path": path,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "infotext": read_text(data).get("parameters", ""),
    }


def generate_image(module: AnsibleModule) -> dict:
    p = module.params
    have = read_regular(p["dest"], follow=True) if os.path.exists(p["dest"]) else b""
    if not p["force"] and have and matches(have, p):
        return {"changed": False, "actions": [], **describe(p["dest"], have)}
    actions = ["render {}".format(p["dest"])]
    if module.check_mode:
        return {"changed": True, "actions": actions, "path": p["dest"]}
    started = time.monotonic()
    data = render(p)
    seconds = round(time.monotonic() - started, 2)
    result = describe(p["dest"], data)
    if data != have:
        write_atomic(p["dest"], data)
    return {"changed": data != have, "actions": actions, "seconds": seconds, **result}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "url": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "prompt": {"type": "str", "required": True},
            "negative_prompt": {"type": "str", "default": ""},
            "seed": {"type": "int", "default": 1},
            "steps": {"type": "int", "default": 20},
            "width": {"type": "int", "default": 512},
            "height": {"type": "int", "default": 512},
            "sampler": {"type": "str", "default": "Euler a"},
            "cfg_scale": {"type": "float", "default": 7.0},
            "extra": {"type": "dict", "default": {}},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 600},
        },
        required_together=[["program", "supervisor_dir"]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**generate_image(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
