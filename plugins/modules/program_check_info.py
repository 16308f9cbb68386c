#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program_check_info
short_description: Prove that the proxy and the WebUI of a host work
version_added: 0.1.0
description:
  - Makes requests through an HTTP proxy. When they fail, finds out which leg of the route is broken and says what to check.
  - Waits until the WebUI answers and, if wanted, renders one step of a tiny image, of which nothing is kept. The port answers
    long before a model is loaded, and the settings name a checkpoint whether it could be loaded or not. Gives up at once when the
    process under supervisor is gone, or when another process has the port, with the end of the log.
  - The WebUI is waited for when the proxy works, since it may need it.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
attributes:
  check_mode:
    support: full
    details: In check mode the WebUI is not waited for.
options:
  proxy:
    description: The proxy. Without it none is tried.
    type: dict
    suboptions:
      url:
        description: URL of the proxy, C(http://HOST:PORT).
        type: str
        required: true
      request_urls:
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
      log_file:
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
  webui:
    description: The WebUI. Without it none is waited for.
    type: dict
    suboptions:
      url:
        description: Base URL of the WebUI.
        type: str
        required: true
      credentials_file:
        description: As of M(sdops.webui.webui_options).
        type: path
      program:
        description: Name of the WebUI's program under supervisor.
        type: str
      supervisor_dir:
        description: Directory of that supervisord.
        type: path
      timeout:
        description: Seconds to wait.
        type: int
        default: 600
      need_model:
        description: Whether a checkpoint that renders belongs to being ready.
        type: bool
        default: true
      log_file:
        description: Log whose end is shown on failure.
        type: path
"""

EXAMPLES = r"""
- name: Make a request through the proxy
  sdops.webui.program_check_info:
    proxy:
      url: http://127.0.0.1:10809
      request_urls: [https://github.com/robots.txt]
      server: xray.example.com

- name: Wait until the WebUI is ready
  sdops.webui.program_check_info:
    webui:
      url: http://127.0.0.1:6006
      credentials_file: /opt/sdops/secrets/webui-credentials
"""

RETURN = r"""
proxy:
  description: For each URL the seconds until it answered through the proxy.
  returned: with O(proxy)
  type: dict
  sample: {"https://github.com/robots.txt": 0.41}
webui:
  description: C(seconds), how long it took, and C(checkpoint), the title of the one that is loaded.
  returned: with O(webui), outside check mode
  type: dict
  sample: {seconds: 21.5, checkpoint: "v1-5-pruned-emaonly.safetensors [6ce0161689]"}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.program_check import PROGRAM_ARGUMENTS
from ..module_utils.webui_api.readiness import wait_until_ready
from ..module_utils.xray.diagnosis import check_proxy


def main() -> None:
    module = AnsibleModule(argument_spec=PROGRAM_ARGUMENTS, supports_check_mode=True)
    result: dict[str, Any] = {}
    try:
        if module.params["proxy"]:
            result["proxy"] = check_proxy(module.params["proxy"])
        if module.params["webui"] and not module.check_mode:
            result["webui"] = wait_until_ready(module.params["webui"])
    except SdopsError as exc:
        module.fail_json(msg=str(exc), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
