#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state_info
short_description: The state of a host that the roles decide from
version_added: 0.1.0
description:
  - Reads in one call what several roles need to know of a host. Only the parts that are requested are read, at the same time.
  - Runs on the host's own Python (3.8 or newer) without further packages. What cannot be read is reported as absent.
  - The action plugin of M(sdops.webui.preflight) calls it and makes the fact C(sdops_host) of the result.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  toolbox:
    description: Directory of the toolbox, which is inspected. One of a Python that ansible-core does not support any more is not usable.
    type: path
  pip_index:
    description: Read which package index the pip of the host is configured with. Needs O(toolbox).
    type: bool
    default: false
  nvidia_smi:
    description: Name or path of C(nvidia-smi), which is queried for the GPUs.
    type: str
  writable:
    description: Paths that the roles write to, which may not be there yet.
    type: list
    elements: path
    default: []
  supervisor_dir:
    description: Directory of supervisord, whose process id is read and whose programs own no port in RV(state.ports).
    type: path
  ports:
    description: TCP ports. Needs O(supervisor_dir).
    type: list
    elements: int
    default: []
  stat:
    description: Paths whose status is read. Symbolic links are followed.
    type: list
    elements: path
    default: []
  disks:
    description: Paths whose disks are read. They need not exist.
    type: list
    elements: path
    default: []
  checkpoint_dirs:
    description: Data directories of WebUIs in which checkpoints are looked for.
    type: list
    elements: path
    default: []
  content:
    description: Text files of at most 1 MiB whose content is read. Not for secrets.
    type: list
    elements: path
    default: []
  user_name_files:
    description: Files with a line C(USER:PASSWORD) whose user name is read. The password is not.
    type: list
    elements: path
    default: []
  convergence_record:
    description: File of M(sdops.webui.convergence_record) that the host is compared with. Needs O(supervisor_dir).
    type: path
  programs:
    description: >-
      Options O(sdops.webui.program_check_info#module:proxy) and O(sdops.webui.program_check_info#module:webui) of
      M(sdops.webui.program_check_info), for programs of supervisord. Where O(convergence_record) finds no other difference, those that the
      record has are tried, once and at most for a moment.
    type: dict
    default: {}
  packages:
    description: Debian packages whose installed versions are read.
    type: list
    elements: str
    default: []
  gather_subset:
    description: Subsets of Ansible's facts that are gathered too, as of M(ansible.builtin.setup).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read the state of the host
  sdops.webui.host_state_info:
    toolbox: /opt/sdops/toolbox
    nvidia_smi: nvidia-smi
    writable: [/opt/sdops, /etc/autodl.sh]
    supervisor_dir: /opt/sdops/supervisor
    ports: [6006]
  register: host
"""

RETURN = r"""
ansible_facts:
  description: Ansible's facts of the host. C(ansible_python) is the Python that this module runs with.
  returned: with O(gather_subset)
  type: dict
  sample: {ansible_distribution: Ubuntu, ansible_user_dir: /root}
state:
  description: The requested parts.
  returned: always
  type: dict
  contains:
    python:
      description: The Python of the host that the toolbox is made with; with O(toolbox).
      type: str
      returned: when requested
      sample: /usr/bin/python3
    toolbox:
      description: C(usable), whether the toolbox is whole for the lock that it was made from, and C(reason), why it is not.
      type: dict
      returned: when requested
      sample: {usable: false, reason: /opt/sdops/toolbox is not there}
    pip_index_url:
      description: The index that C(pip install) of the host asks first by its settings, empty when none is set. It may hold a login.
      type: str
      returned: when requested
      sample: https://mirrors.aliyun.com/pypi/simple/
    gpu:
      description: As the fact C(sdops_gpu) of M(sdops.webui.gpu_facts); with O(nvidia_smi).
      type: dict
      returned: when requested
      sample: {present: false, reason: nvidia-smi is not installed, driver: "", gpus: []}
    unwritable:
      description: Those of O(writable) that this user cannot write or make.
      type: list
      elements: str
      returned: when requested
      sample: [/etc/autodl.sh]
    supervisord_pid:
      description: Process id of supervisord, 0 when it does not answer; with O(supervisor_dir).
      type: int
      returned: when requested
      sample: 412
    ports:
      description: For each port the processes that listen on it, with C(pid) and C(command), without those of supervisord.
      type: dict
      returned: when requested
      sample: {"6006": [{pid: 412, command: /usr/bin/python3 /usr/bin/tensorboard}]}
    stat:
      description: For each path C(exists), C(is_dir), C(mode) (octal) and C(size) (bytes).
      type: dict
      returned: when requested
      sample: {/root/.gitconfig: {exists: true, is_dir: false, mode: "0644", size: 120}}
    disks:
      description: >-
        For each path whether it C(exists); C(device), which is the same for paths on one disk; C(free), in bytes, null where the file
        system does not tell; C(system), whether it is the disk of C(/); and C(similar), the free bytes of directories with almost the same name.
      type: dict
      returned: when requested
      sample: {/root/autodl-tpm: {exists: false, device: "42", free: 30000000000, system: true, similar: {/root/autodl-tmp: 50000000000}}}
    checkpoints:
      description: For each directory whether the WebUI finds a checkpoint in it.
      type: dict
      returned: when requested
      sample: {/root/autodl-tmp/stable-diffusion-webui: true}
    content:
      description: The text of each file, null for one that cannot be read.
      type: dict
      returned: when requested
      sample: {/opt/sdops/webui/installed.json: "{}"}
    user_names:
      description: The user name in each of O(user_name_files), null where there is none.
      type: dict
      returned: when requested
      sample: {/opt/sdops/secrets/webui-credentials: webui}
    convergence:
      description: >-
        Of O(convergence_record) the C(key) of the run, empty where there is no record, its C(parts), and the first C(difference) of the host since,
        its kind and names, empty where there is none. With O(programs) that may be C(proxy) or C(webui), which does not work.
      type: dict
      returned: when requested
      sample: {key: 3f0e..., parts: {sdops_home: 5e1c}, difference: [changed, /opt/sdops/webui/launch.json]}
    packages:
      description: The version of each package, empty for one that is not installed.
      type: dict
      returned: when requested
      sample: {git: "1:2.39.5-0+deb12u2"}
"""

from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils.host_state import read_host_state
from ..module_utils.program_check import PROGRAM_ARGUMENTS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "toolbox": {"type": "path"},
            "pip_index": {"type": "bool", "default": False},
            "nvidia_smi": {"type": "str"},
            "writable": {"type": "list", "elements": "path", "default": []},
            "supervisor_dir": {"type": "path"},
            "ports": {"type": "list", "elements": "int", "default": []},
            "stat": {"type": "list", "elements": "path", "default": []},
            "disks": {"type": "list", "elements": "path", "default": []},
            "checkpoint_dirs": {"type": "list", "elements": "path", "default": []},
            "content": {"type": "list", "elements": "path", "default": []},
            "user_name_files": {"type": "list", "elements": "path", "default": []},
            "convergence_record": {"type": "path"},
            "programs": {"type": "dict", "default": {}},
            "packages": {"type": "list", "elements": "str", "default": []},
            "gather_subset": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    for option, needed in (
        ("pip_index", "toolbox"),
        ("ports", "supervisor_dir"),
        ("convergence_record", "supervisor_dir"),
    ):
        if module.params[option] and not module.params[needed]:
            module.fail_json(msg=f"{option} needs {needed}; give the directory too.")
    # here and not as suboptions, which the documentation would have twice
    programs = ArgumentSpecValidator(PROGRAM_ARGUMENTS).validate(module.params["programs"])
    if programs.error_messages:
        module.fail_json(msg="programs: " + "; ".join(programs.error_messages))
    result: dict[str, Any] = {}
    if module.params["gather_subset"]:
        # a third of all that this module imports
        from ..module_utils.host_facts import gather_facts

        try:
            result["ansible_facts"] = gather_facts(module, module.params["gather_subset"])
        except TypeError as exc:
            module.fail_json(msg=f"gather_subset: {exc}")
    oldest = getattr(basic, "_PY_MIN", (3, 8))
    state = read_host_state({**module.params, "programs": programs.validated_parameters, "minimum_version": oldest})
    module.exit_json(changed=False, state=state, **result)


if __name__ == "__main__":
    main()
