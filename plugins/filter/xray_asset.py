# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xray_asset
short_description: The Xray-core release for an architecture
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Takes the architecture of a host and returns the name of the zip that Xray-core's releases have for it.
  - An architecture without one is an error that names it.
options:
  _input:
    description: What C(uname -m) says, as in the fact C(machine).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Tell which zip to download
  ansible.builtin.debug:
    msg: "{{ ansible_facts['machine'] | sdops.webui.xray_asset }}.zip"
"""

RETURN = r"""
_value:
  description: The name, without C(.zip).
  type: str
  sample: Xray-linux-64
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import SdopsError
from ..module_utils.xray.release import find_asset_name


def xray_asset(machine: str) -> str:
    try:
        return find_asset_name(machine)
    except SdopsError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"xray_asset": xray_asset}
