#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xray_core
short_description: A pinned Xray-core
version_added: 0.1.0
description:
  - Installs one release of Xray-core below a directory, as C(VERSION/) with the link C(current).
  - The zip is verified by a pinned SHA-256 or by the C(.dgst) beside it, unpacked safely, and the program is asked for
    its version before it becomes current.
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
  version:
    description: Version, such as V(26.7.28).
    type: str
    required: true
  release_base:
    description: Where releases lie, as C(BASE/vVERSION/ASSET.zip). Several are tried in order.
    type: list
    elements: str
    default: [https://github.com/XTLS/Xray-core/releases/download]
  sha256:
    description: SHA-256 of the zip. Without it the C(.dgst) file is used, which the same server serves.
    type: str
  file:
    description: A zip on the target, instead of a download. A C(.dgst) file beside it is held against it.
    type: path
  dest:
    description: Directory for the releases.
    type: path
    required: true
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
  proxy:
    description: URL of an HTTP proxy for the download.
    type: str
  timeout:
    description: Seconds without a byte before the download fails.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Install Xray-core
  sdops.webui.xray_core:
    version: 26.7.28
    dest: /opt/sdops/xray
"""

RETURN = r"""
path:
  description: The program.
  returned: always
  type: str
  sample: /opt/sdops/xray/current/xray
via:
  description: The base URL or the zip that it came from, C(installed) when the version was there already, empty when nothing was done.
  returned: always
  type: str
  sample: https://github.com/XTLS/Xray-core/releases/download
verified:
  description: What the zip was held against. C(sha256) for the pin, C(dgst) for the file beside it, empty for a zip without a pin.
  returned: always
  type: str
  sample: dgst
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: ["install Xray-core 26.7.28 into /opt/sdops/xray"]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.xray.release import Installer, Release, installed_version


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "release_base": {
                "type": "list",
                "elements": "str",
                "default": ["https://github.com/XTLS/Xray-core/releases/download"],
            },
            "sha256": {"type": "str"},
            "file": {"type": "path"},
            "dest": {"type": "path", "required": True},
            "ca_path": {"type": "path"},
            "proxy": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    p = module.params
    installer = Installer(p["dest"], p["ca_path"], p["proxy"], p["timeout"])
    version = p["version"].lstrip("v")
    via = verified = ""
    try:
        release = Release(version, p["release_base"], p["sha256"], p["file"])
        before = installer.current()
        changed = before != version or installed_version(installer.program(version)) != version
        if changed and not module.check_mode:
            via, verified = installer.install(release)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(
        changed=changed,
        path=os.path.join(p["dest"], "current", "xray"),
        via=via,
        verified=verified,
        actions=["install Xray-core %s into %s" % (version, p["dest"])] if changed else [],
        diff={"before": "current: %s\n" % before, "after": "current: %s\n" % version},
    )


if __name__ == "__main__":
    main()
