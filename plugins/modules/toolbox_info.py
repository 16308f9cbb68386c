#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolbox_info
short_description: Whether the toolbox works
version_added: 0.1.0
description:
  - Reports whether the toolbox is whole for the lock that it was made from, which Python of the host modules run on when it is not,
    and which package index pip of the host is configured with.
  - Changes nothing.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  path:
    description: Directory of the toolbox.
    type: path
    required: true
  pip_index:
    description: Read pip's configuration too.
    type: bool
    default: true
  writable:
    description: Paths that the roles write to, which may not be there yet.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Examine the toolbox
  sdops.webui.toolbox_info:
    path: /opt/sdops/toolbox
  register: toolbox
  no_log: true                              # the index may have a login
"""

RETURN = r"""
usable:
  description: Whether it is whole.
  returned: always
  type: bool
  sample: true
reason:
  description: Why it is not, else empty.
  returned: always
  type: str
  sample: /opt/sdops/toolbox is not there
python:
  description: The Python of the host.
  returned: always
  type: str
  sample: /usr/bin/python3
unwritable:
  description: Those of O(writable) that this user cannot write or make.
  returned: always
  type: list
  elements: str
  sample: [/etc/autodl.sh]
pip_index_url:
  description: C(global.index-url) of the host's pip, empty when there is none.
  returned: always
  type: str
  sample: https://mirrors.aliyun.com/pypi/simple/
"""

import os
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.process import run
from ..module_utils.python_env.toolbox import Toolbox, host_python


def pip_index_url(python: str) -> str:
    """What pip's configuration files say; "" where there is no pip, or nothing is set."""
    try:
        done = run([python, "-m", "pip", "config", "get", "global.index-url"], timeout=60)
    except SdopsError:
        return ""
    return done.out.strip() if done.rc == 0 else ""


def is_path_writable(path: str) -> bool:
    """Whether this user can write ``path``, or make it where it is not there yet."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "pip_index": {"type": "bool", "default": True},
            "writable": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    python = host_python(path)
    oldest = getattr(basic, "_PY_MIN", (3, 8))
    with ThreadPoolExecutor() as pool:
        index = pool.submit(pip_index_url, python) if module.params["pip_index"] else None
        problems = Toolbox(path, python, oldest).inspect().problems
    module.exit_json(
        changed=False,
        usable=not problems,
        reason="; ".join(problems[:3]),
        python=os.path.abspath(python),
        unwritable=[path for path in module.params["writable"] if path and not is_path_writable(path)],
        pip_index_url=index.result() if index else "",
    )


if __name__ == "__main__":
    main()
