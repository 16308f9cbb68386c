#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_packages
short_description: Install Python packages into an environment with uv
version_added: 0.1.0
description:
  - Installs requirements into the environment of an interpreter. When all of them are met already, uv is not called and
    no network is needed.
  - Reports what changed by comparing the installed distributions before and after, not by reading what uv prints.
  - What an interrupted installation left half-way counts as missing and is reinstalled.
  - What a requirement depends on only has to be there and to satisfy O(constraints); its own version ranges are not
    checked again. So what a later step changes on purpose (O(no_deps), O(overrides)) is not undone by the next run.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.progress
attributes:
  check_mode:
    support: full
    details: Asks uv for a dry run. Where that cannot be (no environment, no uv, no network yet) the plan names the requirements.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: >-
      O(reinstall) always changes and O(upgrade) always asks the index. Local directories, and repositories without a commit,
      are handed to uv every time.
options:
  python:
    description: Interpreter of the environment.
    type: path
    required: true
  packages:
    description: Requirement strings, C(NAME @ URL) and plain URLs included.
    type: list
    elements: str
    default: []
  requirements:
    description: Requirements files on the target.
    type: list
    elements: path
    default: []
  constraints:
    description: Constraints files on the target.
    type: list
    elements: path
    default: []
  overrides:
    description: Override files on the target (uv's C(--override)). They replace what requirements ask for.
    type: list
    elements: path
    default: []
  index_url:
    description: Package index instead of the default one.
    type: str
    default: ""
  extra_index_urls:
    description: More indexes. uv takes a package from the first index that has it, these first; see O(index_strategy).
    type: list
    elements: str
    default: []
  index_strategy:
    description:
      - How uv chooses where several indexes have a package; its own default is V(first-index).
      - PyTorch's indexes carry a few versions of numpy, certifi and others too, which would hide all versions that the normal
        index has. V(unsafe-best-match) looks at all of them, so that any of the indexes can offer a higher version of anything. Install
        from one index at a time (O(index_url), O(no_deps)) instead where they are not all equally trusted.
    type: str
    choices: [first-index, unsafe-first-match, unsafe-best-match]
  find_links:
    description: Directories or pages with wheels.
    type: list
    elements: str
    default: []
  no_deps:
    description: Leave dependencies alone.
    type: bool
    default: false
  no_build_isolation:
    description: Build source packages with what the environment has.
    type: bool
    default: false
  no_build_isolation_packages:
    description: Names of those source packages that are built with what the environment has, while others are built in isolation.
    type: list
    elements: str
    default: []
  reinstall:
    description: Reinstall everything, also what is met.
    type: bool
    default: false
  upgrade:
    description: Take the newest versions that the requirements allow.
    type: bool
    default: false
  protect:
    description:
      - Distributions whose version may not change. uv has to plan around the version that is there.
      - A change that happens all the same is undone by reinstalling the old version, and fails, naming it.
    type: list
    elements: str
    default: []
  uv:
    description: Path of uv. By default the one beside the module's interpreter, else the one on C(PATH).
    type: path
  cache_dir:
    description: Cache directory of uv.
    type: path
  link_mode:
    description: How files come from the cache into the environment.
    type: str
    choices: [clone, copy, hardlink, symlink]
notes:
  - C(http_proxy), C(https_proxy), C(no_proxy), C(SSL_CERT_FILE) and uv's own variables of the task's environment count.
requirements:
  - uv 0.13 or newer
  - packaging in the interpreter of the module, for the check without uv
"""

EXAMPLES = r"""
- name: Install torch for CUDA 12.1
  sdops.webui.python_packages:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    packages: [torch==2.1.2, torchvision==0.16.2]
    index_url: https://download.pytorch.org/whl/cu121
    no_deps: true

- name: Install what it depends on, from the normal index
  sdops.webui.python_packages:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    packages: [torch==2.1.2, torchvision==0.16.2]
    protect: [torch, torchvision]

- name: Install an extension's requirements, but not another torch
  sdops.webui.python_packages:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    requirements: [/root/autodl-tmp/stable-diffusion-webui/extensions/adetailer/requirements.txt]
    protect: [torch]
"""

RETURN = r"""
changes:
  description: >-
    Distributions that changed, or would change; null stands for absent. A version is followed by the URL in parentheses when
    the distribution did not come from an index.
  returned: success
  type: list
  elements: dict
  sample: [{name: torch, before: null, after: 2.1.2+cu121}]
unmet:
  description: Requirements that were not met, or not certainly met, at the start. When empty, uv was not called.
  returned: success
  type: list
  elements: str
  sample: [torch==2.1.2]
actions:
  description: The changes in words.
  returned: success
  type: list
  elements: str
  sample: [install torch 2.1.2+cu121]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError, UvMissingError
from ..module_utils.progress import report_bytes_written
from ..module_utils.python_env.packages import PipRequest, UvInstaller
from ..module_utils.secrets import mask_secrets
from ..module_utils.urls import redact_logins, url_login_secrets


def words(change: dict[str, Any]) -> str:
    if change["before"] is None:
        return "install {name} {after}".format(**change)
    if change["after"] is None:
        return "remove {name} {before}".format(**change)
    return "change {name} from {before} to {after}".format(**change)


def result(changes: list[dict[str, Any]], unmet: list[str], actions: list[str]) -> dict[str, Any]:
    return {
        "changed": bool(changes or actions),
        "changes": changes,
        "unmet": [redact_logins(r) for r in unmet],
        "actions": actions or [words(c) for c in changes],
        "diff": {
            "before": "".join("{name} {before}\n".format(**c) for c in changes if c["before"]),
            "after": "".join("{name} {after}\n".format(**c) for c in changes if c["after"]),
        },
    }


def plan_only(requested: list[str]) -> dict[str, Any]:
    """A plan where nobody can be asked for the details: the requirements as they are written."""
    requested = [redact_logins(w) for w in requested]
    planned = result([], requested, ["install " + w for w in requested])
    planned["diff"]["after"] = "".join(w + "\n" for w in requested)
    return planned


def ensure_packages(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    request = PipRequest(**{field: p[field] for field in PipRequest._fields})
    files = request.requirements + request.constraints + request.overrides
    if module.check_mode and not all(os.path.exists(f) for f in [p["python"], *files]):
        # not bootstrapped: the environment and these files come with the run itself
        return plan_only(request.packages + request.requirements)
    installer = UvInstaller(p["python"], p["uv"], p["cache_dir"])
    unmet = installer.unmet(request)
    if not unmet:
        return result([], [], [])
    if module.check_mode:
        try:
            changes = installer.plan(request, p["protect"])
        except UvMissingError:  # the toolbox, which has it, comes with the run itself
            return plan_only(unmet)
        except SdopsError as exc:
            if "protected" in str(exc):
                raise
            module.warn(f"The plan is only what was asked for, since uv could not be run: {exc}")
            return plan_only(unmet)
    else:
        with report_bytes_written(p["progress_file"], request.names()):
            changes = installer.install(request, p["protect"])
    reinstalled = ["reinstall " + r for r in map(redact_logins, unmet)] if request.reinstall else []
    return result(changes, unmet, [words(c) for c in changes] + reinstalled)


def main() -> None:
    strings = {"type": "list", "elements": "str", "default": []}
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "packages": strings,
            "requirements": paths,
            "constraints": paths,
            "overrides": paths,
            "index_url": {"type": "str", "default": ""},
            "extra_index_urls": strings,
            "index_strategy": {"type": "str", "choices": ["first-index", "unsafe-first-match", "unsafe-best-match"]},
            "find_links": strings,
            "no_deps": {"type": "bool", "default": False},
            "no_build_isolation": {"type": "bool", "default": False},
            "no_build_isolation_packages": strings,
            "reinstall": {"type": "bool", "default": False},
            "upgrade": {"type": "bool", "default": False},
            "protect": strings,
            "uv": {"type": "path"},
            "cache_dir": {"type": "path"},
            "progress_file": {"type": "path"},
            "link_mode": {"type": "str", "choices": ["clone", "copy", "hardlink", "symlink"]},
        },
        required_one_of=[["packages", "requirements"]],
        supports_check_mode=True,
    )
    p = module.params
    for url in [p["index_url"], *p["extra_index_urls"], *p["find_links"], *p["packages"]]:
        # the arguments are part of every result: what is secret in a URL is masked there
        mask_secrets(module, url_login_secrets(url))
    try:
        module.exit_json(**ensure_packages(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
