# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vless_link
short_description: The fields of a vless:// share link
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Takes a C(vless://) share link of a VLESS server with REALITY over plain TCP apart.
  - The keys of the result are the variables of the role P(sdops.webui.xray_proxy#role) without their prefix.
  - Other transports (C(type=ws), C(type=grpc), C(type=xhttp), ...) and other kinds of C(security) are refused. For those,
    give the role a whole client config in C(xray_proxy_config).
  - Space and line breaks around the link do not matter. An empty parameter counts as not given.
  - An error names the part of the link that is wrong and what its form must be. It never repeats the user id, the keys,
    the short id or the link.
notes:
  - The result holds secrets as the link does. Use C(no_log) in tasks that print it.
  - Ansible's own error reports quote lines of the file that the filter stands in. Keep the link in a vault, not beside it.
seealso:
  - name: Share link proposal
    description: What the parts of a link mean.
    link: https://github.com/XTLS/Xray-core/discussions/716
options:
  _input:
    description: The share link.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show where a link leads
  vars:
    link: "vless://00000000-0000-0000-0000-000000000000@xray.example.com:8443?security=reality&sni=www.example.com\
      &pbk=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&flow=xtls-rprx-vision#My%20server"
  ansible.builtin.debug:
    msg: "{{ (link | sdops.webui.vless_link).server }}"
  # => "xray.example.com"

# The role does this by itself: xray_proxy_link takes the link.
"""

RETURN = r"""
_value:
  description: The fields of the link.
  type: dict
  contains:
    server:
      description: Host name in ASCII (C(xn--...) for international names), or IP address without brackets.
      type: str
      sample: xray.example.com
    port:
      description: Port of the server; 443 when the link has none.
      type: int
      sample: 8443
    uuid:
      description: User id (secret).
      type: str
      sample: 00000000-0000-0000-0000-000000000000
    public_key:
      description: REALITY public key (C(pbk)), base64url without padding.
      type: str
      sample: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
    server_name:
      description: REALITY server name (C(sni)); the server's own name when the link has none.
      type: str
      sample: www.example.com
    short_id:
      description: REALITY short id (C(sid)), or an empty string.
      type: str
      sample: 0123abcd
    fingerprint:
      description: TLS client fingerprint (C(fp)); C(chrome) when the link has none.
      type: str
      sample: chrome
    spider_x:
      description: REALITY spiderX (C(spx)), or an empty string.
      type: str
      sample: /
    flow:
      description: VLESS flow, or an empty string.
      type: str
      sample: xtls-rprx-vision
    encryption:
      description: VLESS encryption; C(none) when the link has none.
      type: str
      sample: none
    mldsa65_verify:
      description: ML-DSA-65 key of the server (C(pqv)), base64url without padding.
      returned: when the link has it
      type: str
    name:
      description: The link's name (behind the C(#)), or an empty string.
      type: str
      sample: My server
    ignored:
      description: Names of the parameters that mean nothing here.
      type: list
      elements: str
      sample: [alpn]
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import SdopsError
from ..module_utils.xray.share_link import parse_share_link


def vless_link(link: str) -> dict[str, Any]:
    try:
        return parse_share_link(link)
    except SdopsError as exc:
        # "from None": no value of the link may show up in a chain of causes
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"vless_link": vless_link}
