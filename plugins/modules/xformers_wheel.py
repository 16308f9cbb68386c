#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xformers_wheel
short_description: An xformers wheel for this torch, CUDA, Python and GPU, from a cache or built
version_added: 0.1.0
description:
  - Looks for a wheel in cache directories, which hosts may share, and builds one from sources when there is none.
  - A cached wheel is used only when its hash and its metadata are right. Of several hosts that share a cache, one builds and
    the others wait for it.
  - Only for the GPUs that are named, with as many compilers at once as cores and memory allow. A build that was cut goes on
    where it was. While it runs, Ansible shows how many of its steps are done.
  - Installs nothing. A build that changes torch, torchvision or numpy in the environment fails.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.progress
attributes:
  check_mode:
    support: full
    details: Tells whether a build would be needed.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  python:
    description: Interpreter of the environment that has torch.
    type: path
    required: true
  version:
    description: Version of xformers, such as V(0.0.23.post1).
    type: str
    required: true
  cache_dirs:
    description: Directories to look in; what is built is kept in the first.
    type: list
    elements: path
    required: true
  build:
    description: Whether to build what no cache has.
    type: bool
    default: true
  capabilities:
    description:
      - Compute capabilities to build for, such as V(8.6). Required for a build of CUDA code.
      - A cached wheel for more of them than these is good, too.
    type: list
    elements: str
    default: []
  gpu_visible:
    description: Whether the box sees a GPU now. Without one, C(FORCE_CUDA) is set.
    type: bool
    default: true
  source:
    description: Directory with the sources, submodules included. By default the sdist of that version on the package index.
    type: path
  sha256:
    description: SHA-256 of the sdist.
    type: str
  max_jobs:
    description: Compilers at once; V(0) takes one for each core and 10 GiB of memory.
    type: int
    default: 0
  cuda_home:
    description: Directory of the CUDA toolkit. By default as the environment and the usual places have it.
    type: path
  work_dir:
    description: Where builds lie until they are done.
    type: path
    required: true
  state_file:
    description:
      - JSON file on this host, outside O(cache_dirs), with the SHA-256 of every wheel that was built here or taken from a cache
        before. A wheel that is another one later is refused, with both hashes, since whoever can write a shared cache can replace a wheel
        together with the hash beside it. The first use of a wheel that another host built trusts the cache.
      - Without it nothing is recorded and nothing compared.
    type: path
notes:
  - The variables of pip (C(PIP_INDEX_URL) and others) and proxies of the task's environment count.
requirements:
  - pip, setuptools, wheel and ninja in the environment
  - a C++ compiler, and nvcc of the CUDA version that torch was built for
"""

EXAMPLES = r"""
- name: Build xformers once for all hosts of this region
  sdops.webui.xformers_wheel:
    python: /root/autodl-tmp/envs/StableDiffusion/bin/python
    version: 0.0.23.post1
    capabilities: ["8.6"]
    cache_dirs: [/root/autodl-fs/wheels]
    work_dir: /root/autodl-tmp/builds
"""

RETURN = r"""
path:
  description: The wheel; null when there is none yet.
  returned: success
  type: str
  sample: /root/autodl-fs/wheels/xformers-0.0.23.post1-torch2.1.2-cu121-cp310-linux_x86_64_glibc_2_35-sm86/xformers-0.0.23.post1-cp310-cp310-linux_x86_64.whl
sha256:
  description: Its hash.
  returned: success
  type: str
  sample: 5fa9b1f1c7a8dd4ba7d43d4f0b1a7dc1dd3e0f4c1a8b1a7a0e9e8c0e3e6f9b77
origin:
  description: V(cache), V(built), or V(none).
  returned: success
  type: str
  sample: built
capabilities:
  description: Compute capabilities that it has code for; empty where there is no wheel yet.
  returned: success
  type: list
  elements: str
  sample: ["8.6"]
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 1834.2
actions:
  description: What was done, or would be done.
  returned: success
  type: list
  elements: str
  sample: [build xformers 0.0.23.post1 for 8.6]
"""

import os
import signal
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.errors import SdopsError
from ..module_utils.progress import ProgressWriter
from ..module_utils.wheel_cache import Cache
from ..module_utils.xformers.environment import inspect_torch
from ..module_utils.xformers.wheel import Builder, WheelRequest

NAME = "xformers"


def answer(builder: Builder, begun: float, got: Any, would: bool) -> dict[str, Any]:
    what = "{} {} for {}".format(builder.key.name, builder.key.version, ", ".join(builder.key.capabilities) or "CPU")
    return {
        "changed": got.built or would,
        "path": got.entry.path if got.entry else None,
        "sha256": got.entry.sha256 if got.entry else None,
        "origin": "built" if got.built else "cache" if got.entry else "none",
        "capabilities": list(got.entry.key.capabilities) if got.entry else [],
        "seconds": round(time.monotonic() - begun, 1),
        "actions": ["build " + what] if got.built or would else [],
    }


def provide_wheel(module: AnsibleModule) -> dict[str, Any]:
    p, begun = module.params, time.monotonic()
    if module.check_mode and not os.path.exists(p["python"]):
        # not bootstrapped: the environment comes with the run itself
        actions = ["build {} {} if no cache has it".format(NAME, p["version"])] if p["build"] else []
        return {
            "changed": bool(actions),
            "path": None,
            "sha256": None,
            "origin": "none",
            "capabilities": [],
            "seconds": 0.0,
            "actions": actions,
        }
    if not p["cache_dirs"]:
        raise SdopsError("cache_dirs is empty; a wheel that was built has to be kept somewhere.")
    request = WheelRequest(
        NAME,
        p["version"],
        p["python"],
        p["capabilities"],
        p["source"] or "{}=={}".format(NAME, p["version"]),
        p["sha256"],
        p["max_jobs"],
        p["cuda_home"],
        p["gpu_visible"],
        p["work_dir"],
    )
    builder = Builder(
        request,
        inspect_torch(p["python"]),
        [Cache(directory, p["state_file"], module.check_mode) for directory in p["cache_dirs"]],
    )

    def end(signum: int, _frame: Any) -> None:
        builder.stop()
        raise SystemExit(128 + signum)

    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, end)
    with ProgressWriter(p["progress_file"]) as progress:
        entry = progress.add_entry("{} {}".format(NAME, p["version"]))
        got = builder.get(
            p["build"] and not module.check_mode,
            lambda done, total: entry.update("building", done, total),
            lambda: entry.update("building"),
        )
        entry.update("done")
    for trouble in got.trouble:
        module.warn(trouble)
    return answer(builder, begun, got, p["build"] and not got.entry)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "cache_dirs": {"type": "list", "elements": "path", "required": True},
            "build": {"type": "bool", "default": True},
            "capabilities": {"type": "list", "elements": "str", "default": []},
            "gpu_visible": {"type": "bool", "default": True},
            "source": {"type": "path"},
            "sha256": {"type": "str"},
            "max_jobs": {"type": "int", "default": 0},
            "cuda_home": {"type": "path"},
            "work_dir": {"type": "path", "required": True},
            "progress_file": {"type": "path"},
            "state_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**provide_wheel(module))
    except SdopsError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
