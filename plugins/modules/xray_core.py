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
  - The zip must have the SHA-256 that was given, or the one that upstream itself reports of it. Then it is unpacked safely, and the
    program is asked for its version before it becomes current. A damaged program is replaced.
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
    description: SHA-256 of the zip. Without it O(digest_base) is asked for it.
    type: str
  digest_base:
    description:
      - Where the C(.dgst) of a release is read when O(sha256) is not given, as C(BASE/vVERSION/ASSET.zip.dgst).
      - Upstream's own place. What a mirror says of its own zip proves nothing, so O(release_base) is not asked.
    type: str
    default: https://github.com/XTLS/Xray-core/releases/download
  machine:
    description: Architecture that the zip is for, as C(uname -m) says it. Empty is that of the host that the module runs on.
    type: str
    default: ""
  file:
    description: A zip on the target, instead of a download. Its SHA-256 is needed as that of any other is.
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
  cache_dir:
    description:
      - Directory with a cache of files by their SHA-256, that of M(sdops.webui.model_files) for instance. One host downloads, others that
        share it take the zip from there, and verify it.
    type: path
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
  description: What the zip was compared with. C(sha256) for the option, C(dgst) for what upstream reports, empty when nothing was done.
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
from ..module_utils.xray.release import (
    UPSTREAM_RELEASES,
    ReleaseSpec,
    XrayInstaller,
    check_zip_members,
    query_version,
    strip_version_prefix,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "release_base": {"type": "list", "elements": "str", "default": [UPSTREAM_RELEASES]},
            "sha256": {"type": "str"},
            "digest_base": {"type": "str", "default": UPSTREAM_RELEASES},
            "machine": {"type": "str", "default": ""},
            "file": {"type": "path"},
            "state": {"type": "str", "choices": ["current", "present", "verified"], "default": "current"},
            "dest": {"type": "path"},
            "ca_path": {"type": "path"},
            "proxy": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
            "cache_dir": {"type": "path"},
        },
        required_if=[
            ["state", "current", ["dest"]],
            ["state", "present", ["dest"]],
            ["state", "verified", ["file"]],
        ],
        supports_check_mode=True,
    )
    p = module.params
    version = strip_version_prefix(p["version"])
    result = {"changed": False, "via": "", "verified": "", "actions": []}
    release = ReleaseSpec(version, p["release_base"], p["sha256"], p["digest_base"], p["file"], p["machine"])
    installer = XrayInstaller(p["dest"] or "", p["ca_path"], p["proxy"], p["timeout"], p["cache_dir"])
    try:
        if p["state"] == "verified":
            sha256, verified = installer.verify(release)
            check_zip_members(p["file"], p["file"])
            result.update(via=p["file"], verified=verified, sha256=sha256)
        else:
            install_release(module, installer, release, result)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


def install_release(module: AnsibleModule, installer: XrayInstaller, release: ReleaseSpec, result: dict) -> None:
    p, version = module.params, release.version
    program = installer.program_path(version)
    before = installer.current_version()
    if query_version(program) != version:
        result["actions"].append("install Xray-core {} into {}".format(version, p["dest"]))
        if not module.check_mode:
            result["via"], result["verified"] = installer.install(release)
    elif not module.check_mode:
        result["via"] = "installed"
    after = version if p["state"] == "current" else before
    if before != after:
        result["actions"].append(f"make Xray-core {version} the current one")
        if not module.check_mode:
            installer.activate(version)
    result.update(
        changed=bool(result["actions"]),
        path=program,
        diff={"before": f"current: {before}\n", "after": f"current: {after}\n"},
    )


if __name__ == "__main__":
    main()
