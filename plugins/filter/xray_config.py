# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xray_config
short_description: A client config of Xray as a mapping, checked
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Takes a whole client config of Xray, as a mapping or as JSON, and returns it as a mapping.
  - Refuses one that has no outbounds, or no HTTP inbound on 127.0.0.1 and the given port that asks for no password.
  - The role P(sdops.webui.xray_proxy#role) does this with C(xray_proxy_config).
  - An error never repeats what stands in the config.
positional: _input, http_port
options:
  _input:
    description: The config. JSON must be without comments.
    type: raw
    required: true
  http_port:
    description: Port of the HTTP inbound that must be there.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show the outbounds of a config
  ansible.builtin.debug:
    msg: "{{ (lookup('ansible.builtin.file', 'client.json') | sdops.webui.xray_config(10809)).outbounds | map(attribute='protocol') }}"
"""

RETURN = r"""
_value:
  description: The config.
  type: dict
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import SdopsError
from ..module_utils.xray.client_config import validate_client_config


def xray_config(config: str | dict[str, Any], http_port: int) -> dict[str, Any]:
    try:
        return validate_client_config(config, int(http_port))
    except SdopsError as exc:
        # "from None": a chain of causes could show the config
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"xray_config": xray_config}
