# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: route_environment
short_description: Environment variables for the routes that M(sdops.webui.network_routes) chose
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Variables for a task that talks to some services. C(http_proxy), C(https_proxy) and C(no_proxy) in both spellings where one
    of them goes through a proxy, and C(HF_ENDPOINT) where Hugging Face is reached at a mirror.
  - With AutoDL's turbo proxy its own exceptions and certificates (C(SSL_CERT_FILE), C(REQUESTS_CA_BUNDLE)) count as well.
  - Never C(all_proxy), which breaks the WebUI, pip and requests.
positional: _input, services, no_proxy, indexes
options:
  _input:
    description: The RV(sdops.webui.network_routes#module:routes) of M(sdops.webui.network_routes).
    type: dict
    required: true
  services:
    description: The services that the task talks to.
    type: list
    elements: str
    required: true
  no_proxy:
    description:
      - Hosts that are reached without a proxy in any case, written as httpx, requests, urllib and curl all take them.
      - What none of them could take, a network of IPv6 for example, is left out with a warning.
    type: list
    elements: str
    default: []
  indexes:
    description: URLs of package indexes besides the main one. Where that one is reached without the proxy they are, too.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Clone something
  ansible.builtin.command: git clone https://github.com/OWNER/NAME.git
  environment: "{{ network.routes | sdops.webui.route_environment(['github'], ['localhost', '127.0.0.1']) }}"
"""

RETURN = r"""
_value:
  description: Variables by name.
  type: dict
  sample: {http_proxy: "http://127.0.0.1:10809", no_proxy: "localhost,127.0.0.1"}
"""

from typing import Any, Callable

from ansible.utils.display import Display

from ..module_utils.network.proxy_environment import no_proxy_forms, proxy_variables


def route_environment(
    routes: dict[str, Any],
    services: list[str],
    no_proxy: list[str] | None = None,
    indexes: list[str] | None = None,
) -> dict[str, str]:
    for entry in no_proxy or []:
        if str(entry).strip() and not no_proxy_forms(str(entry)):
            Display().warning(
                f"no_proxy: {entry!r} is left out, because the WebUI's HTTP client ends at it or none understands it. Name hosts, "
                "domains, addresses, or networks of IPv4 in sdops_no_proxy."
            )
    return proxy_variables(routes, services, no_proxy or [], indexes or [])


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"route_environment": route_environment}
