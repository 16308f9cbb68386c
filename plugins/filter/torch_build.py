# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: torch_build
short_description: The build of torch for the GPUs and the driver of a host
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Takes the first build that has kernels for all compute capabilities and that the NVIDIA driver can run. A GPU that none serves
    is an error that lists them, a driver that is too old for all of them one that says which is needed.
positional: _input, device, capabilities, driver
options:
  _input:
    description:
      - Builds in the order of preference, each with C(build) (V(cu121); V(cpu) for the one without CUDA), C(torch),
        C(torchvision), C(oldest) and C(newest) compute capability.
    type: list
    elements: dict
    required: true
  device:
    description: V(auto), V(cuda) or V(cpu).
    type: str
    required: true
  capabilities:
    description: Compute capabilities of the GPUs. Empty takes the first build that the driver can run.
    type: list
    elements: str
    default: []
  driver:
    description: Version of the NVIDIA driver, such as V(535.183.01). Empty, null, or what is no version rules no build out.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Tell the build
  ansible.builtin.debug:
    msg: "{{ builds | sdops.webui.torch_build('auto', ['8.6'], '550.90.07') }}"
  vars:
    builds:
      - {build: cu121, torch: 2.1.2, torchvision: 0.16.2, oldest: "5.0", newest: "9.0"}
      - {build: cpu, torch: 2.1.2, torchvision: 0.16.2}
"""

RETURN = r"""
_value:
  description: >-
    The build, with C(packages), its requirement strings, C(exact), the same with the build's label, as PyTorch's own indexes
    have it, and C(reason), why it was taken.
  type: dict
  sample:
    build: cu121
    torch: 2.1.2
    torchvision: 0.16.2
    oldest: "5.0"
    newest: "9.0"
    packages: [torch==2.1.2, torchvision==0.16.2]
    exact: [torch==2.1.2+cu121, torchvision==0.16.2+cu121]
    reason: it has kernels for compute capability 8.6
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import NoTorchBuildError
from ..module_utils.gpu.torch_builds import choose


def torch_build(
    builds: list[dict[str, Any]], device: str, capabilities: list[str] | None = None, driver: str | None = ""
) -> dict[str, Any]:
    try:
        return choose(builds, device, capabilities or [], driver)
    except NoTorchBuildError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"torch_build": torch_build}
