#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolbox
short_description: Make the toolbox, a virtual environment
version_added: 0.1.0
description:
  - Makes a virtual environment that holds what a lock names. It is checked by what it can do - its Python starts, versions are those
    of the lock, files have the size that was installed, modules can be imported - and rebuilt when packages alone do not help.
  - An index that does not answer is named within seconds.
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
    description: Directory of the environment.
    type: path
    required: true
  requirements:
    description: The lock, a requirements file with versions and hashes. Its text, not a path.
    type: str
    required: true
  python:
    description: Interpreter that makes it. The one that runs this module when not given.
    type: path
requirements:
  - Python 3.8 or newer with venv on the target
"""

EXAMPLES = r"""
- name: Make the toolbox
  sdops.webui.toolbox:
    path: /opt/sdops/toolbox
    requirements: "{{ lookup('ansible.builtin.file', 'toolbox-requirements.txt') }}"
"""

RETURN = r"""
problems:
  description: What was wrong with it.
  returned: always
  type: list
  elements: str
  sample: ["requests==2.32.4: it is not installed"]
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [rebuild /opt/sdops/toolbox]
"""

from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, ToolboxError
from ..module_utils.python_env.toolbox import Toolbox, host_python


def ensure_toolbox(module: AnsibleModule) -> dict:
    path, lock = module.params["path"], module.params["requirements"]
    oldest = getattr(basic, "_PY_MIN", (3, 8))
    toolbox = Toolbox(path, module.params["python"] or host_python(path), oldest)
    problems, rebuild = toolbox.inspect(lock, record=not module.check_mode)
    result: dict[str, Any] = {"changed": bool(problems), "problems": problems, "actions": []}
    after = f"{path} has every package of its requirements\n" if problems else ""
    result["diff"] = {"before": "".join(line + "\n" for line in problems), "after": after}
    if not problems:
        return result
    result["actions"].append(("rebuild %s" if rebuild else "install packages into %s") % path)
    if rebuild:
        toolbox.reject_unmanaged_directory()
    if module.check_mode:
        return result
    for warning in toolbox.install(lock, rebuild):
        module.warn(warning)
    left = toolbox.inspect(lock, record=True)
    if left.problems and not rebuild:
        result["actions"].append(f"rebuild {path}")
        toolbox.install(lock, True)
        left = toolbox.inspect(lock, record=True)
    if left.problems:
        raise ToolboxError(
            "The toolbox {} was made but does not work: {}. Check its disk, and the Python {} which it was made with; "
            "ansible_python_interpreter names another one.".format(path, "; ".join(left.problems[:3]), toolbox.python)
        )
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "requirements": {"type": "str", "required": True},
            "python": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure_toolbox(module))
    except (SdopsError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
