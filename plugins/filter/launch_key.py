# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: launch_key
short_description: A hash that changes when the WebUI has to be restarted
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Hashes how the WebUI is launched, without proxies and addresses in its environment. These may change with every run, with the
    routes that are chosen, and a WebUI that runs does not need the new ones.
positional: _input
options:
  _input:
    description: The launch configuration. Of its C(environment), variables that end in C(_proxy) and values with a C(://) are left out.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the launch key
  ansible.builtin.debug:
    msg: "{{ {'args': ['--api'], 'environment': {'HOME': '/root', 'https_proxy': 'http://127.0.0.1:10809'}} | sdops.webui.launch_key }}"
"""

RETURN = r"""
_value:
  description: SHA-1 in hexadecimal digits.
  type: str
"""

import hashlib
import json
from typing import Any, Callable, Mapping


def launch_key(config: Mapping[str, Any]) -> str:
    environment = {
        name: value
        for name, value in config["environment"].items()
        if not name.lower().endswith("_proxy") and "://" not in str(value)
    }
    text = json.dumps({**config, "environment": environment}, sort_keys=True)
    return hashlib.sha1(text.encode()).hexdigest()  # a key, not a signature


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"launch_key": launch_key}
