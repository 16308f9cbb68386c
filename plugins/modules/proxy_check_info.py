#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_check_info
short_description: Prove that requests get through a proxy
version_added: 0.1.0
description:
  - Makes requests through an HTTP proxy. When they fail, finds out which leg of the route is broken and says what to check.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  proxy:
    description: URL of the proxy.
    type: str
    required: true
  urls:
    description: URLs that must answer through it, one at least. Any HTTP status counts.
    type: list
    elements: str
    required: true
  server:
    description: The far end of the proxy, for the diagnosis. Without it that leg of the route is not tried by itself.
    type: str
  port:
    description: Port of the far end.
    type: int
    default: 443
  server_name:
    description: The site that a REALITY server hides behind, for the diagnosis. The server reaches it in any case.
    type: str
  log:
    description: Log of the client on this host, for the diagnosis.
    type: path
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
  timeout:
    description: Seconds for each request.
    type: int
    default: 15
  retries:
    description: How often a failed request is tried again; 0 or more.
    type: int
    default: 4
  delay:
    description: Seconds between tries.
    type: int
    default: 2
  version:
    description: Version of the client, for the diagnosis.
    type: str
    default: ""
  controller_time:
    description: Seconds since the epoch by the controller's clock, for the diagnosis. REALITY needs clocks that agree.
    type: float
"""

EXAMPLES = r"""
- name: Make a request through the proxy
  sdops.webui.proxy_check_info:
    proxy: http://127.0.0.1:10809
    urls: [https://github.com/robots.txt]
    server: xray.example.com
    port: 443
"""

RETURN = r"""
seconds:
  description: Seconds until each URL answered.
  returned: success
  type: dict
  sample: {"https://github.com/robots.txt": 0.41}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.xray.diagnosis import ProxyDiagnosis


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "proxy": {"type": "str", "required": True},
            "urls": {"type": "list", "elements": "str", "required": True},
            "server": {"type": "str"},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "log": {"type": "path"},
            "ca_path": {"type": "path"},
            "timeout": {"type": "int", "default": 15},
            "retries": {"type": "int", "default": 4},
            "delay": {"type": "int", "default": 2},
            "version": {"type": "str", "default": ""},
            "controller_time": {"type": "float"},
        },
        supports_check_mode=True,
    )
    p = module.params
    diagnosis = ProxyDiagnosis(
        p["proxy"], p["server"], p["port"], p["ca_path"], p["timeout"], p["server_name"], p["log"]
    )
    diagnosis.version = p["version"]
    if p["controller_time"]:
        diagnosis.clock_skew = time.time() - p["controller_time"]
    try:
        seconds = diagnosis.check_urls(p["urls"], p["retries"], p["delay"])
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, seconds=seconds)


if __name__ == "__main__":
    main()
