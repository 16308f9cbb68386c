#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_refresh
short_description: Refresh the lists of models of a running WebUI
version_added: 0.1.0
description:
  - Lets a running WebUI read its directories of models again, so that what was added can be chosen at once. Nothing is loaded or
    restarted.
  - A WebUI that does not run needs no refresh, since it reads them when it starts. A list that cannot be refreshed is a warning.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.webui_access
attributes:
  check_mode:
    support: partial
    details: Nothing is refreshed, and no change is reported. What a refresh finds is known when it is over.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  url:
    description: Base URL of the WebUI.
    type: str
    required: true
  kinds:
    description: Kinds of models whose lists are refreshed.
    type: list
    elements: str
    choices: [checkpoint, embedding, lora, vae]
    default: [checkpoint, embedding, lora, vae]
  timeout:
    description: Seconds to wait for each list. A WebUI that generates images refreshes most of them when it has finished.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Show a new LoRA in the page
  sdops.webui.webui_refresh:
    url: http://127.0.0.1:6006
    credentials_file: /opt/sdops/secrets/webui-credentials
    kinds: [lora]
"""

RETURN = r"""
running:
  description: Whether a WebUI listens there.
  returned: always
  type: bool
  sample: true
actions:
  description: What the lists have gained and lost.
  returned: always
  type: list
  elements: str
  sample: [list lora /root/stable-diffusion-webui/models/Lora/FilmVelvia3.safetensors]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.terminal import printable
from ..module_utils.webui_api.access import ARGUMENTS, connect, is_listening
from ..module_utils.webui_api.lists import LISTS, RefreshResult, refresh_lists


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "url": {"type": "str", "required": True},
            "kinds": {"type": "list", "elements": "str", "choices": sorted(LISTS), "default": sorted(LISTS)},
            "timeout": {"type": "int", "default": 60},
        },
        required_together=[["program", "supervisor_dir"]],
        supports_check_mode=True,
    )
    p = module.params
    running = is_listening(p["url"])
    result = RefreshResult([], [], [])
    if running and not module.check_mode:
        try:
            result = refresh_lists(connect(p), p["kinds"], p["timeout"])
        except SdopsError as exc:
            result = RefreshResult([], [], [f"The WebUI did not refresh its lists of models: {exc}"])
    for problem in result.problems:
        module.warn(
            f"{printable(problem)} Use the refresh button beside the list, or restart the WebUI with the playbook restart."
        )
    before, after = ([printable(name) for name in names] for names in (result.before, result.after))
    module.exit_json(
        changed=before != after,
        running=running,
        actions=[f"list {name}" for name in after if name not in before]
        + [f"drop {name}" for name in before if name not in after],
        diff={"before": "".join(f"{name}\n" for name in before), "after": "".join(f"{name}\n" for name in after)},
    )


if __name__ == "__main__":
    main()
