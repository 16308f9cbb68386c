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
    its version before it becomes current. A damaged program is replaced.
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
    description: Version, such as V(26.7.28), with or without the V(v) of its tag.
    type: str
    required: true
  release_base:
    description:
      - Where releases lie, as C(BASE/vVERSION/ASSET.zip).
      - Several are tried in order, until one gives a zip that is what it should be.
    type: list
    elements: str
    default: [https://github.com/XTLS/Xray-core/releases/download]
  sha256:
    description: SHA-256 of the zip. Without it the C(.dgst) file is used, which the same server serves.
    type: str
  file:
    description:
      - A zip on the target, instead of a download. A C(.dgst) file beside it is held against it.
      - With neither that nor O(sha256) nothing says that it is the right one, and there is a warning.
    type: path
  state:
    description:
      - V(current) installs it and points C(current) at it.
      - V(present) installs it beside the one in use, which stays in use.
      - V(verified) installs nothing, but fails when the zip in O(file) is not what it should be.
    type: str
    choices: [current, present, verified]
    default: current
  dest:
    description: Directory for the releases. Required unless O(state=verified).
    type: path
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
  returned: unless O(state=verified)
  type: str
  sample: /opt/sdops/xray/26.7.28/xray
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


from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.xray.release import Installer, Release, check_members, installed_version, plain_version, verify


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
            "state": {"type": "str", "choices": ["current", "present", "verified"], "default": "current"},
            "dest": {"type": "path"},
            "ca_path": {"type": "path"},
            "proxy": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ["state", "current", ["dest"]],
            ["state", "present", ["dest"]],
            ["state", "verified", ["file"]],
        ],
        supports_check_mode=True,
    )
    p = module.params
    version = plain_version(p["version"])
    result = {"changed": False, "via": "", "verified": "", "actions": []}
    try:
        if p["state"] == "verified":
            result.update(via=p["file"], verified=verify(p["file"], p["sha256"], p["file"]))
            check_members(p["file"], p["file"])
        else:
            install(module, version, result)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    if result["via"] == p["file"] and p["file"] and not result["verified"]:
        module.warn(
            "Nothing says that %s is the Xray-core %s of its makers: there is neither a pin nor a .dgst file beside it. Set "
            "xray_proxy_sha256, or put the release's .dgst beside the zip." % (p["file"], version)
        )
    module.exit_json(**result)


def install(module: AnsibleModule, version: str, result: dict) -> None:
    p = module.params
    installer = Installer(p["dest"], p["ca_path"], p["proxy"], p["timeout"])
    program = installer.program(version)
    before = installer.current()
    if installed_version(program) != version:
        result["actions"].append("install Xray-core %s into %s" % (version, p["dest"]))
        if not module.check_mode:
            release = Release(version, p["release_base"], p["sha256"], p["file"])
            result["via"], result["verified"] = installer.install(release)
    elif not module.check_mode:
        result["via"] = "installed"
    after = version if p["state"] == "current" else before
    if before != after:
        result["actions"].append("make Xray-core %s the current one" % version)
        if not module.check_mode:
            installer.use(version)
    result.update(
        changed=bool(result["actions"]),
        path=program,
        diff={"before": "current: %s\n" % before, "after": "current: %s\n" % after},
    )


if __name__ == "__main__":
    main()
