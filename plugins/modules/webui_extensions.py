#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: webui_extensions
short_description: Extensions of the WebUI at pinned commits, without letting one break the WebUI
version_added: 0.1.0
description:
  - Checks out each extension at its commit and installs what it needs into the WebUI's environment.
  - The packages that the WebUI stands on (its own requirements, torch, numpy, protobuf, xformers) stay as they are. An
    extension that changes one of them all the same, or whose installation fails, is a failure that names it; the environment
    is restored as it was before that extension, and the others go on.
  - Directories of extensions that are not in the list are left alone and listed.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: partial
    details: What an C(install.py) would do is not known before it runs.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  extensions:
    description: The extensions, as the filter P(sdops.webui.extension_plan#filter) gives them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Directory below C(extensions/).
        type: str
        required: true
      repo:
        description: URL of the repository.
        type: str
        default: ""
      commit:
        description: Commit, 40 hex digits.
        type: str
        default: ""
      state:
        description: V(disabled) keeps the files at the commit and installs nothing.
        type: str
        choices: [present, disabled, absent]
        default: present
      packages:
        description: Requirement strings.
        type: list
        elements: str
        default: []
      keep:
        description: Guarded packages whose version stays, whatever the extension's packages ask for.
        type: list
        elements: str
        default: []
      requirements:
        description: Install what its C(requirements.txt) names, if there is one.
        type: bool
        default: true
      install_script:
        description: Run its C(install.py), if there is one, once for each commit.
        type: bool
        default: true
      models:
        description: Not used by this module.
        type: list
        elements: raw
        default: []
      files:
        description: Not used by this module.
        type: list
        elements: dict
        default: []
      debian:
        description: Not used by this module.
        type: list
        elements: str
        default: []
      build:
        description: Those of the O(extensions[].packages) that have no wheels. They are built once and kept in O(wheels_dirs).
        type: list
        elements: str
        default: []
      arguments:
        description: Not used by this module.
        type: list
        elements: str
        default: []
  python:
    description: Interpreter of the WebUI's environment.
    type: path
    required: true
  webui_dir:
    description: The WebUI's checkout.
    type: path
    required: true
  data_dir:
    description: The WebUI's data directory, in which C(extensions/) lies. The checkout by default.
    type: path
  constraints:
    description: Constraints files.
    type: list
    elements: path
    default: []
  requirements_file:
    description: Name of the WebUI's own requirements file, whose packages stay as they are.
    type: str
    default: requirements_versions.txt
  environment_file:
    description: JSON file with environment variables for C(install.py).
    type: path
  wheels_dirs:
    description: Directories in which wheels are looked for that were built before; one that is built now goes into the first.
    type: list
    elements: path
    default: []
  commit_cache_dir:
    description: Directory for commits that hosts may share, as the option O(sdops.webui.git_pins#module:cache_dir) of P(sdops.webui.git_pins#module).
    type: path
    version_added: 0.1.0
  wheels_state_file:
    description: JSON file on this host with the SHA-256 of every wheel that was built here or taken from O(wheels_dirs) before. One that
      is another later is refused, with both hashes. Without it nothing is compared.
    type: path
  timeout:
    description: Seconds for one C(install.py).
    type: int
    default: 1800
"""

EXAMPLES = r"""
- name: Bring two extensions
  sdops.webui.webui_extensions:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    webui_dir: /root/autodl-tmp/stable-diffusion-webui
    constraints: [/opt/sdops/webui/constraints.txt]
    extensions: "{{ ['controlnet', 'adetailer'] | sdops.webui.extension_plan('https://github.com', '1.10.1') }}"
"""

RETURN = r"""
extensions:
  description: What became of each one.
  returned: always
  type: list
  elements: dict
  sample:
    - name: sd-webui-controlnet
      state: present
      status: changed
      commit: 56cec5b2958edf3b1807b7e7b2b1b5186dbd2f81
unmanaged:
  description: Directories below C(extensions/) that are not in the list.
  returned: always
  type: list
  elements: str
  sample: [a1111-sd-webui-tagcomplete]
failed_extensions:
  description: Names of those that failed.
  returned: always
  type: list
  elements: str
  sample: []
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: ["sd-webui-controlnet: install fvcore 0.1.5.post20221221"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.extensions.install import ExtensionInstaller, InstallOptions
from ..module_utils.filesystem import load_json
from ..module_utils.git.command import Git
from ..module_utils.git.pin import partial_path
from ..module_utils.secrets import mask_secrets
from ..module_utils.urls import url_login_secrets


def environment(path: Any) -> dict[str, str]:
    if not path or not os.path.exists(path):
        return {}
    return {name: str(value) for name, value in load_json(path, follow=True).items()}


def apply_extensions(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    data_dir = p["data_dir"] or p["webui_dir"]
    options = InstallOptions(
        python=p["python"],
        webui_dir=p["webui_dir"],
        data_dir=data_dir,
        constraints=[path for path in p["constraints"] if os.path.exists(path)],
        requirements=os.path.join(p["webui_dir"], p["requirements_file"]),
        environment=environment(p["environment_file"]),
        timeout=p["timeout"],
        check=module.check_mode,
        wheels=p["wheels_dirs"],
        wheels_state_file=p["wheels_state_file"],
        commit_cache=p["commit_cache_dir"],
    )
    places = [os.path.join(os.path.realpath(data_dir), "extensions", e["name"]) for e in p["extensions"]]
    with Git([d for place in places for d in (place, partial_path(place))], 3) as git:
        extensions = ExtensionInstaller(options, git)
        actions = extensions.finish_interrupted_run()
        results = [extensions.apply(spec) for spec in p["extensions"]]
        extensions.finish()
        unmanaged = extensions.find_unmanaged([spec["name"] for spec in p["extensions"]])
    actions += [f"{r.name}: {action}" for r in results for action in r.actions]
    failed = [r for r in results if r.status == "failed"]
    found = {
        "changed": bool(actions),
        "actions": actions,
        "extensions": [r.as_dict() for r in results],
        "unmanaged": unmanaged,
        "failed_extensions": [r.name for r in failed],
        "diff": {"before": "", "after": "".join(action + "\n" for action in actions)},
    }
    if failed:
        found["msg"] = "{} of {} extensions failed. {}".format(
            len(failed),
            len(results),
            "\n".join(r.reason if r.reason.startswith(r.name) else f"{r.name}: {r.reason}" for r in failed),
        )
    return found


def main() -> None:
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "extensions": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "repo": {"type": "str", "default": ""},
                    "commit": {"type": "str", "default": ""},
                    "state": {"type": "str", "choices": ["present", "disabled", "absent"], "default": "present"},
                    "packages": strings,
                    "keep": strings,
                    "requirements": {"type": "bool", "default": True},
                    "install_script": {"type": "bool", "default": True},
                    "models": {"type": "list", "elements": "raw", "default": []},
                    "files": {"type": "list", "elements": "dict", "default": []},
                    "debian": strings,
                    "build": strings,
                    "arguments": strings,
                },
            },
            "python": {"type": "path", "required": True},
            "webui_dir": {"type": "path", "required": True},
            "data_dir": {"type": "path"},
            "constraints": {"type": "list", "elements": "path", "default": []},
            "requirements_file": {"type": "str", "default": "requirements_versions.txt"},
            "environment_file": {"type": "path"},
            "wheels_dirs": {"type": "list", "elements": "path", "default": []},
            "commit_cache_dir": {"type": "path"},
            "wheels_state_file": {"type": "path"},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    for entry in module.params["extensions"]:
        mask_secrets(module, url_login_secrets(entry["repo"]))
    try:
        found = apply_extensions(module)
    except SdopsError as exc:
        module.fail_json(msg=str(exc))
    if found["failed_extensions"]:
        module.fail_json(**found)
    module.exit_json(**found)


if __name__ == "__main__":
    main()
