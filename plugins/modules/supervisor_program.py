#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_program
short_description: One program under supervisord
version_added: 0.1.0
description:
  - Describes a program to a running supervisord, keeps it running, and restarts it when its description or what it reads
    at its start has changed. Other programs are never touched.
  - When supervisord itself dies, its programs go on without it and keep their ports. With O(end_orphans), such a process is
    ended before the program is started.
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
    details: O(state=restarted) restarts every time.
options:
  name:
    description: Name of the program.
    type: str
    required: true
  supervisor_dir:
    description: Directory that holds C(supervisor.sock) and C(conf.d/).
    type: path
    required: true
  command:
    description: Command line. Without it, a program that is described already is started, restarted or stopped as it is.
    type: str
  directory:
    description: Working directory.
    type: path
    default: /
  environment:
    description: Environment variables. They can be read in C(conf.d/), so no secrets here.
    type: dict
    default: {}
  user:
    description: User to run as.
    type: str
  autorestart:
    description: Whether it is started again when it ends.
    type: str
    choices: ["true", "false", unexpected]
    default: "true"
  startsecs:
    description: Seconds it must stay up to count as started.
    type: int
    default: 1
  startretries:
    description: Failed starts in a row before it is given up.
    type: int
    default: 10
  stopwaitsecs:
    description: Seconds between the stop signal and SIGKILL.
    type: int
    default: 10
  stopsignal:
    description: Signal that stops it.
    type: str
    default: TERM
  stdout_logfile:
    description: Log of its output and errors.
    type: path
    default: /dev/null
  log_maxbytes:
    description: Size at which the log is rotated.
    type: str
    default: 10MB
  log_backups:
    description: Rotated logs that are kept.
    type: int
    default: 3
  priority:
    description: Lower starts earlier.
    type: int
    default: 999
  restart_on:
    description: Anything that identifies what the program reads when it starts, checksums for example. A change restarts it.
    type: str
    default: ""
  restart_on_files:
    description: Files that the program reads when it starts. A change of their content restarts it, too.
    type: list
    elements: path
    default: []
  end_orphans:
    description:
      - End processes of this user that have the arguments of the O(command) and that this supervisord did not start, each by
        its process id. For programs whose arguments no other one has, such as the path of a configuration of ours.
    type: bool
    default: false
  wait:
    description: Seconds until it must be running.
    type: int
    default: 30
  state:
    description: V(started) keeps it running, V(restarted) restarts it, V(stopped) stops it, V(absent) removes it.
    type: str
    choices: [started, restarted, stopped, absent]
    default: started
"""

EXAMPLES = r"""
- name: Keep Xray running
  sdops.webui.supervisor_program:
    name: xray
    supervisor_dir: /opt/sdops/supervisor
    command: /opt/sdops/xray/current/xray run -c /opt/sdops/xray/config.json
    stdout_logfile: /opt/sdops/log/xray.log
"""

RETURN = r"""
process_state:
  description: supervisord's word for the state.
  returned: when supervisord runs
  type: str
  sample: RUNNING
pid:
  description: Process id, 0 when it does not run.
  returned: when supervisord runs
  type: int
  sample: 4242
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [write /opt/sdops/supervisor/conf.d/xray.conf, start xray]
"""

import contextlib
import os
import shlex
import signal
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.content_key import checksum_or_none
from ..module_utils.errors import SdopsError, SupervisorError
from ..module_utils.filesystem import read_regular, write_atomic
from ..module_utils.procfs import ancestry, find_by_arguments, has_ended
from ..module_utils.supervisor.client import RUNNING, Program, Supervisor


def orphans(command: str, supervisord: int) -> list[int]:
    """Processes with the arguments of ``command`` that are not below ``supervisord``."""
    arguments = shlex.split(command)[1:]
    return [pid for pid in find_by_arguments(arguments) if supervisord not in ancestry(pid)] if arguments else []


def described(section: str) -> str:
    """The command of a section that ``Program`` has rendered."""
    for line in section.splitlines():
        if line.startswith("command="):
            return line[len("command=") :].replace("%%", "%")
    return ""


def end(pid: int, seconds: float) -> None:
    """Ask the process to end, and make it after ``seconds``."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            if has_ended(pid):
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def apply_program(module: AnsibleModule) -> dict:
    p = module.params
    name, state = p["name"], p["state"]
    supervisor = Supervisor(p["supervisor_dir"])
    conf = supervisor.conf(name)
    before = read_regular(conf, follow=True).decode("utf-8") if os.path.exists(conf) else ""
    answers = supervisor.answers()
    info = supervisor.info(name) if answers else None
    running = info is not None and info["statename"] in (RUNNING, "STARTING", "BACKOFF")
    after = before
    command = p["command"] or described(before)
    left = orphans(command, supervisor.pid() if answers else 0) if p["end_orphans"] else []
    actions = [f"end process {pid} of {name}, which a former supervisord left behind" for pid in left]
    if not module.check_mode:
        for pid in left:
            end(pid, p["stopwaitsecs"])

    if state == "absent":
        after = ""
        if before or info:
            actions.append(f"remove {name}")
            if not module.check_mode:
                if before:
                    os.unlink(conf)
                if answers:
                    supervisor.remove(name)
    elif state == "stopped":
        if running:
            actions.append(f"stop {name}")
            if not module.check_mode:
                supervisor.stop(name)
    else:
        if p["command"]:
            inputs = " ".join([p["restart_on"], *(checksum_or_none(path) or "" for path in p["restart_on_files"])])
            after = Program(**{**{field: p[field] for field in Program._fields}, "restart_on": inputs}).render()
        elif not before:
            raise SupervisorError(f"{name} was never set up on this host. Run the site, and then this again.")
        rewrite = after != before
        if rewrite:
            actions.append(f"write {conf}")
        if rewrite or info is None or not running or left or state == "restarted":
            actions.append("{} {}".format("restart" if running else "start", name))
        if actions and not module.check_mode:
            if rewrite:
                write_atomic(conf, after.encode())
            if rewrite or info is None:
                try:
                    supervisor.reread(name)
                except SupervisorError:  # what it refuses must not stand in its way at the next start of the box
                    write_atomic(conf, before.encode()) if before else os.unlink(conf)
                    raise
            elif left or state == "restarted":
                supervisor.stop(name)
            supervisor.start(name)
        if not module.check_mode:
            info = supervisor.wait(name, p["wait"] + p["startsecs"], p["stdout_logfile"])
    if not module.check_mode and answers and state in ("absent", "stopped"):
        info = supervisor.info(name)
    result = {"changed": bool(actions), "actions": actions, "diff": {"before": before, "after": after}}
    if info:
        result.update(process_state=info["statename"], pid=info["pid"])
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "supervisor_dir": {"type": "path", "required": True},
            "command": {"type": "str"},
            "directory": {"type": "path", "default": "/"},
            "environment": {"type": "dict", "default": {}},
            "user": {"type": "str"},
            "autorestart": {"type": "str", "choices": ["true", "false", "unexpected"], "default": "true"},
            "startsecs": {"type": "int", "default": 1},
            "startretries": {"type": "int", "default": 10},
            "stopwaitsecs": {"type": "int", "default": 10},
            "stopsignal": {"type": "str", "default": "TERM"},
            "stdout_logfile": {"type": "path", "default": "/dev/null"},
            "log_maxbytes": {"type": "str", "default": "10MB"},
            "log_backups": {"type": "int", "default": 3},
            "priority": {"type": "int", "default": 999},
            "restart_on": {"type": "str", "default": ""},
            "restart_on_files": {"type": "list", "elements": "path", "default": []},
            "end_orphans": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 30},
            "state": {"type": "str", "choices": ["started", "restarted", "stopped", "absent"], "default": "started"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply_program(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
