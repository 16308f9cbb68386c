#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_env
short_description: A conda environment with an exact Python
version_added: 0.1.0
description:
  - Makes a conda environment with the conda, mamba or micromamba that is on the box, or with the py-rattler library where
    there is none.
  - An environment that exists is never recreated unless O(recreate) says so. One with another Python is refused with the
    choices there are. One that an earlier run of this module left unfinished, because it was killed, is started over; where
    packages were being added they are added again. Nothing else is ever deleted.
  - Only the channels that are given are asked (C(--override-channels)), and terms of service are never accepted on
    anybody's behalf.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.progress
attributes:
  check_mode:
    support: full
    details: Needs no engine; without one the plan is reported all the same.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the environment. Exactly one of O(name) and O(prefix) is needed.
      - It lies in O(envs_dir), else where the engine knows one of that name, else in the engine's own directory, else in
        C(~/.conda/envs).
    type: str
  prefix:
    description: Absolute path of the environment.
    type: path
  envs_dir:
    description: Directory in which environments by O(name) lie.
    type: path
  python:
    description: Exact Python version with three parts, such as V(3.10.6). Required with O(state=present).
    type: str
  packages:
    description:
      - More conda packages, as names or with a version (C(ffmpeg=6.1)).
      - Those that an existing environment lacks are added to it. Versions are looked at in the forms C(NAME=VERSION) and
        C(NAME==VERSION) only.
    type: list
    elements: str
    default: []
  channels:
    description:
      - Channels by name, URL or absolute path.
      - A name is left to the configuration of conda, mamba and micromamba, which may map it to a mirror; with py-rattler
        it lies under V(https://conda.anaconda.org). With O(channel_alias) it lies there for all of them.
    type: list
    elements: str
    default: [conda-forge]
  channel_alias:
    description: Base URL of channels given by name, for instance that of a mirror.
    type: str
  recreate:
    description:
      - Recreate an environment with another Python, or with none that runs, instead of rejecting it. Everything that was installed
        into it is lost.
      - One with the wanted Python is never touched.
    type: bool
    default: false
  engine:
    description:
      - V(auto), V(conda), V(mamba), V(micromamba), V(rattler) or the absolute path of a program.
      - V(auto) looks for the three programs on C(PATH) and in their usual places, which a non-login session does not have
        on its C(PATH), and falls back to py-rattler.
    type: str
    default: auto
  rattler_python:
    description: Interpreter that has py-rattler. By default the one that runs this module.
    type: path
  ca_path:
    description: PEM bundle to trust instead of the default one.
    type: path
  package_cache_dir:
    description:
      - Directory for downloaded packages, which hosts may share. One downloads what is missing, the others wait for it.
      - By default conda, mamba and micromamba have their own, and py-rattler's is removed when it has ended.
    type: path
    version_added: 0.1.0
  state:
    description:
      - V(present) makes the environment.
      - V(absent) removes it. A directory that is no conda environment, or that is conda itself, is refused.
    type: str
    choices: [present, absent]
    default: present
notes:
  - C(http_proxy), C(https_proxy) and C(no_proxy) of the task's environment count.
requirements:
  - conda, mamba, micromamba, or py-rattler (0.25 or newer)
"""

EXAMPLES = r"""
- name: Make the environment of the WebUI
  sdops.webui.conda_env:
    prefix: /root/autodl-tmp/envs/StableDiffusion
    python: 3.10.6

- name: By name, from a mirror
  sdops.webui.conda_env:
    name: StableDiffusion
    python: 3.10.6
    channel_alias: https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud

- name: Remove it
  sdops.webui.conda_env:
    prefix: /root/autodl-tmp/envs/StableDiffusion
    state: absent
"""

RETURN = r"""
prefix:
  description: Path of the environment.
  returned: success
  type: str
  sample: /root/autodl-tmp/envs/StableDiffusion
python:
  description: Its interpreter.
  returned: success
  type: str
  sample: /root/autodl-tmp/envs/StableDiffusion/bin/python
python_version:
  description: Version of the interpreter, asked from it; in check mode the one that is wanted; null when absent.
  returned: success
  type: str
  sample: 3.10.6
engine:
  description: What makes the environment, a path or V(rattler).
  returned: success
  type: str
  sample: /root/miniconda3/bin/conda
packages:
  description: Conda packages in the environment, name to version.
  returned: success
  type: dict
  sample: {python: 3.10.6, openssl: 3.3.1}
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [make /root/autodl-tmp/envs/StableDiffusion with Python 3.10.6 by /root/miniconda3/bin/conda]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.conda.engines import find_engine, prefix_of
from ..module_utils.conda.environment import (
    CondaEnvironment,
    EnvironmentSpec,
    installed_packages,
    validate_python_version,
)
from ..module_utils.errors import SdopsError
from ..module_utils.progress import report_bytes_written


def listing(prefix: str, version: str, packages: dict[str, str]) -> str:
    """The environment as text for a diff."""
    lines = [f"{prefix}: Python {version}"]
    lines += ["  {} {}".format(*item) for item in sorted(packages.items())]
    return "\n".join(lines) + "\n"


def absent(module: AnsibleModule, environment: CondaEnvironment, result: dict[str, Any]) -> dict[str, Any]:
    prefix = environment.requested.prefix
    changed = environment.is_removable()
    before = listing(prefix, "environment", installed_packages(prefix)) if changed else ""
    if changed and not module.check_mode:
        environment.remove()
    result.update(changed=changed, python_version=None, packages={}, diff={"before": before, "after": ""})
    result["actions"] = ["remove " + prefix] if changed else []
    return result


def present(
    module: AnsibleModule, environment: CondaEnvironment, engine: Any, result: dict[str, Any]
) -> dict[str, Any]:
    requested, prefix = environment.requested, environment.requested.prefix
    found = environment.inspect(module.params["recreate"])
    before = {} if environment.is_unfinished() else installed_packages(prefix)
    actions = []
    if found.python is None:
        if environment.is_unfinished():
            actions.append("clear what an unfinished run left in " + prefix)
        elif before:
            actions.append("remove what is in " + prefix)
        also = " and " + ", ".join(requested.packages) if requested.packages else ""
        actions.append("make {} with Python {}{} by {}".format(prefix, requested.python, also, result["engine"]))
    elif found.interrupted:
        actions.append(
            "finish adding {} to {} by {}".format(", ".join(found.missing) or "packages", prefix, result["engine"])
        )
    elif found.missing:
        actions.append("add {} to {} by {}".format(", ".join(found.missing), prefix, result["engine"]))
    if actions and not module.check_mode:
        with report_bytes_written(module.params["progress_file"], f"Python {requested.python}"):
            if found.python is None:
                environment.create(engine)
            else:
                environment.add(engine, found.missing)
    if module.check_mode:
        after = {**before, **{spec: "(to be installed)" for spec in found.missing}}
    else:
        after = installed_packages(prefix)
    note = (
        ", interrupted while packages were added"
        if found.interrupted
        else ", which is removed"
        if found.python is None
        else ""
    )
    result.update(
        changed=bool(actions),
        actions=actions,
        python_version=requested.python,
        packages=installed_packages(prefix),
        diff={
            "before": listing(prefix, (found.python or before.get("python", "")) + note, before)
            if before or found.python
            else "",
            "after": listing(prefix, requested.python, after),
        },
    )
    return result


def ensure_environment(module: AnsibleModule) -> dict[str, Any]:
    p = module.params
    engine, engine_name = None, p["engine"]
    try:
        engine = find_engine(p["engine"], p["ca_path"], p["channel_alias"], p["rattler_python"], p["package_cache_dir"])
        engine_name = engine.name
    except SdopsError:
        # not bootstrapped: the engine may come with the run itself
        if not module.check_mode or (p["name"] and not p["envs_dir"]):
            raise
    prefix = os.path.abspath(p["prefix"] or prefix_of(p["name"], p["envs_dir"], engine))
    python = validate_python_version(p["python"]) if p["state"] == "present" else ""
    environment = CondaEnvironment(EnvironmentSpec(prefix, python, p["packages"], p["channels"]))
    result = {"prefix": prefix, "python": os.path.join(prefix, "bin", "python"), "engine": engine_name}
    if p["state"] == "absent":
        return absent(module, environment, result)
    return present(module, environment, engine, result)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "prefix": {"type": "path"},
            "envs_dir": {"type": "path"},
            "python": {"type": "str"},
            "recreate": {"type": "bool", "default": False},
            "packages": {"type": "list", "elements": "str", "default": []},
            "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
            "channel_alias": {"type": "str"},
            "engine": {"type": "str", "default": "auto"},
            "rattler_python": {"type": "path"},
            "ca_path": {"type": "path"},
            "package_cache_dir": {"type": "path"},
            "progress_file": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        mutually_exclusive=[["name", "prefix"]],
        required_one_of=[["name", "prefix"]],
        required_if=[["state", "present", ["python"]]],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**ensure_environment(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
