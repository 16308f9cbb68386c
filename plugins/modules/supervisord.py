#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisord
short_description: Keep supervisord itself running
version_added: 0.1.0
description:
  - Starts supervisord where none answers at its socket, and waits until it does. Programs under it belong to M(sdops.webui.supervisor_program).
  - It is started without the proxies of the environment, as the boot hook starts it. What it runs has settings of its own.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: O(reload) reloads with every run.
options:
  program:
    description: Path of supervisord.
    type: path
    required: true
  supervisor_dir:
    description: Directory of C(supervisord.conf) and C(supervisor.sock).
    type: path
    required: true
  start:
    description: Start one where none answers. With V(false), something else does that, such as systemd; it is only waited for.
    type: bool
    default: true
  reload:
    description: Have a running one read its settings again. That restarts its programs.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for an answer.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Run supervisord
  sdops.webui.supervisord:
    program: /opt/sdops/toolbox/bin/supervisord
    supervisor_dir: /opt/sdops/supervisor
"""

RETURN = r"""
pid:
  description: Process id of supervisord.
  returned: when it runs
  type: int
  sample: 4242
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [start supervisord]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, SupervisorError
from ..module_utils.process import run
from ..module_utils.supervisor.client import Supervisor

START_LIMIT = 60  # seconds that supervisord may take to detach itself


def start_supervisord(program: str, config: str) -> None:
    """Raises SupervisorError and ProcessError when it does not start."""
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    unset = [option for name in proxies for option in ("-u", name)]
    done = run(["env", *unset, program, "-c", config], timeout=START_LIMIT)
    if done.rc:
        raise SupervisorError(f"supervisord could not be started with {config}: {done.tail()}")


def ensure_supervisord(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    supervisor = Supervisor(p["supervisor_dir"])
    answers = supervisor.answers()
    actions = []
    if answers and p["reload"]:
        actions.append("reload supervisord")
        if not module.check_mode:
            supervisor.reload()
    elif not answers and p["start"]:
        actions.append("start supervisord")
        if not module.check_mode:
            start_supervisord(p["program"], os.path.join(p["supervisor_dir"], "supervisord.conf"))
    result: dict[str, Any] = {"changed": bool(actions), "actions": actions}
    if not module.check_mode:
        result["pid"] = supervisor.wait_for_answer(p["timeout"])
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "program": {"type": "path", "required": True},
            "supervisor_dir": {"type": "path", "required": True},
            "start": {"type": "bool", "default": True},
            "reload": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure_supervisord(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
