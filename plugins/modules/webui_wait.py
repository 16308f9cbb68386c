#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_wait
short_description: Wait until the WebUI is ready
version_added: 0.1.0
description:
  - Waits until the WebUI answers and, if wanted, renders one step of a tiny image, of which nothing is kept. The port answers
    long before a model is loaded, and the settings name a checkpoint whether it could be loaded or not.
  - Gives up at once when the process under supervisor is gone, or when another process has the port, with the end of the log.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.webui_access
attributes:
  check_mode:
    support: full
    details: In check mode it does not wait.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  url:
    description: Base URL of the WebUI.
    type: str
    required: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 600
  need_model:
    description: Whether a checkpoint that renders belongs to being ready.
    type: bool
    default: true
  log_file:
    description: Log whose end is shown on failure.
    type: path
"""

EXAMPLES = r"""
- name: Wait until the WebUI is ready
  sdops.webui.webui_wait:
    url: http://127.0.0.1:6006
    credentials_file: /opt/sdops/secrets/webui-credentials
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: outside check mode
  type: float
  sample: 21.5
checkpoint:
  description: Title of the checkpoint.
  returned: outside check mode
  type: str
  sample: v1-5-pruned-emaonly.safetensors [6ce0161689]
"""

import urllib.parse

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.procfs import ancestry, port_owners
from ..module_utils.supervisor.client import DEAD, Supervisor
from ..module_utils.webui_api.access import ARGUMENTS, connect


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "url": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
            "need_model": {"type": "bool", "default": True},
            "log_file": {"type": "path"},
        },
        required_together=[["program", "supervisor_dir"]],
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=False, actions=["wait for {}".format(p["url"])])

    port = urllib.parse.urlsplit(p["url"]).port or 80

    def alive():
        if not p["program"]:
            return None
        info = Supervisor(p["supervisor_dir"]).info(p["program"])
        if info is None or info["statename"] in DEAD:
            return "its process is %s" % (info["statename"] if info else "unknown to supervisord")
        # one that a dead supervisord left behind answers too
        others = [o for o in port_owners(port) if o["pid"] and info["pid"] not in ancestry(o["pid"])]
        if others:
            return "port {} belongs to {} (pid {}), which supervisord did not start".format(
                port, others[0]["command"], others[0]["pid"]
            )
        return None

    try:
        found = connect(p).wait_ready(p["timeout"], p["need_model"], p["log_file"], alive)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, actions=[], **found)


if __name__ == "__main__":
    main()
