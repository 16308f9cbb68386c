#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check variables and host of roles before the first change
version_added: 0.1.0
description:
  - Checks the variables of roles of this collection on the controller, for their argument specifications and for what types cannot say.
    Then finds or makes a Python on the host and gathers the facts with it (M(sdops.webui.python_bootstrap)), asks the host once
    (M(sdops.webui.host_state_info)), and checks what depends on it. A host with a toolbox,
    or with a Python that the inventory names, answers both at once.
  - All mistakes are in one message, each with the variable, its value (masked where it may be secret), the rule and the next step.
    Mistakes in variables come first, since the host is asked with their values; variables that are made of facts are checked when
    these are known. Warnings are printed and do not fail the task.
  - The rules of a role that depend on the host, and what it asks of the host, are its variables C(__ROLE_errors), C(__ROLE_warnings)
    and C(__ROLE_host_state) (C(vars/main.yml)); the options of M(sdops.webui.python_bootstrap) are C(__sdops_python_bootstrap).
  - Variables that are not defined where the task runs are left out.
  - This module is carried out by an action plugin on the controller. Changes nothing but that it may make a Python.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: partial
    details: Where a Python would have to be made, that is reported as a warning, and the host is not asked.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  roles:
    description: Names of roles of this collection, without C(sdops.webui). The shared variables are always checked.
    type: list
    elements: str
    required: true
  bootstrap:
    description:
      - Whether a Python is found or made and the facts are gathered though there are facts already, which may be those of an earlier
        run (from a cache of facts). Where there are none it is done anyway.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check the variables and the host
  sdops.webui.preflight:
    roles: [sdops, webui_service]
"""

RETURN = r"""
ansible_facts:
  description: Facts to add; with O(bootstrap), or where there were none, those of M(sdops.webui.python_bootstrap) too.
  returned: success, where the host has a Python
  type: dict
  contains:
    sdops_host:
      description: >-
        The state of the host, as in RV(sdops.webui.host_state_info#module:state) without the package index and the GPU; and
        C(given_variables), the names of the collection's variables that are set anywhere but in the defaults of roles.
      type: dict
      returned: success
      sample: {python: /usr/bin/python3, unwritable: [], given_variables: [sdops_data_dir, sd_webui_version]}
    sdops_gpu:
      description: As from M(sdops.webui.gpu_facts).
      type: dict
      returned: when the role sdops is among O(roles)
      sample: {present: false, reason: nvidia-smi is not installed, driver: "", gpus: []}
would_create:
  description:
    - Whether a Python would have to be made, in check mode. Then the host was not asked.
    - The other values of M(sdops.webui.python_bootstrap) are here too.
  returned: when M(sdops.webui.python_bootstrap) has run
  type: bool
  sample: false
convergence:
  description: Whether the host is as the last whole run of the same roles has left it; see M(sdops.webui.convergence_record).
  returned: success
  type: dict
  contains:
    key:
      description: Hash of what this run is made of; empty where it is not compared (single tags, check mode, C(sdops_verify)).
      type: str
      returned: success
      sample: 3f0e5ab1...
    parts:
      description: By name of what the run is made of, four digits of its hash, which only tell that it has changed.
      type: dict
      returned: success
      sample: {sdops_home: 5e1c}
    holds:
      description: Whether nothing has changed.
      type: bool
      returned: success
      sample: true
    difference:
      description: >-
        What has changed, as its kind and names: C(changed) or C(changed_many), C(programs) of supervisord, C(toolbox), C(record) where there is
        none, or C(error). Empty where nothing has, or where it is not compared.
      type: list
      elements: str
      returned: success
      sample: [changed, /opt/sdops/webui/launch.json]
private:
  description: What may hold secrets. Where there is any, the result is not shown.
  returned: success
  type: dict
  contains:
    stripped:
      description: By name, the values that have white space around them, without it. Not those given with C(-e).
      type: dict
      returned: success
      sample: {sdops_cache_dir: /root/autodl-fs/cache}
    pip_index_url:
      description: The package index that the host's pip is configured with.
      type: str
      returned: success
      sample: https://mirrors.aliyun.com/pypi/simple/
"""
