# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: netrc
short_description: A netrc file with the logins of URLs
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - The content of a netrc file with the user names and passwords of the URLs, for pip, uv and others that read the file that
    E(NETRC) names. Empty when no URL has a login.
  - A login that the format cannot hold, and a second one for the same host, is an error.
options:
  _input:
    description: URLs such as C(https://USER:PASSWORD@HOST/simple).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Write the logins
  ansible.builtin.copy:
    content: "{{ [index_url] | sdops.webui.netrc }}"
    dest: /opt/sdops/secrets/netrc
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_value:
  description: The content.
  type: str
  sample: "machine pypi.example.com\nlogin me\npassword secret\n"
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import SdopsError
from ..module_utils.network.netrc import render_netrc


def netrc(urls: list[str]) -> str:
    try:
        return render_netrc(str(url) for url in urls)
    except SdopsError as exc:
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"netrc": netrc}
