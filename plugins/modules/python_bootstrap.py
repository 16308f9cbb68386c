#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_bootstrap
short_description: Find or make a Python that ansible-core can use on a host, and gather facts with it
version_added: 0.1.0
description:
  - Finds a Python on the host that the running ansible-core supports, for the tasks that follow, and gathers the facts with it; it takes
    the place of C(gather_facts). The host needs no Python for that, only C(/bin/sh).
  - Looks at the system's interpreters first, then at conda's, pyenv's and those that an earlier run has made. Where none fits, one is
    made by the host's conda, mamba or micromamba, by C(apt-get), or from a tarball; what the host has no means for is left out.
  - An interpreter that is set by C(ansible_python_interpreter) or in C(ansible.cfg) is used as it is. When it is too old, the task
    fails and says what to do.
  - This module is carried out by an action plugin on the controller; it works with C(become).
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: partial
    details: Where a Python would have to be made, that is reported as a warning, and no facts are gathered.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description: Directory in which conda or the tarball makes a Python.
    type: path
    required: true
  url:
    description:
      - Tarball of python-build-standalone (C(install_only)). V({arch}) in it becomes what C(uname -m) prints.
      - The host downloads it, else the controller does and copies it. With a login or a query in it only the controller does.
    type: str
    default: ""
  sha256:
    description: SHA-256 of the tarball by machine, as C(uname -m) prints it.
    type: dict
    default: {}
  conda_channel:
    description: The conda channel, by name or base URL. When it does not answer, those that the host's conda is configured for are tried.
    type: str
    default: conda-forge
  system_packages:
    description: Whether C(apt-get) may install a Python, which needs root.
    type: bool
    default: true
  ca_path:
    description: PEM bundle on the host to trust instead of the default one.
    type: path
  gather_subset:
    description: As of M(ansible.builtin.setup).
    type: list
    elements: str
    default: [all]
"""

EXAMPLES = r"""
- name: Set up a host that may have an old Python
  hosts: webui
  gather_facts: false
  pre_tasks:
    - name: Bootstrap Python and gather the facts
      sdops.webui.python_bootstrap:
        path: /opt/sdops/python
"""

RETURN = r"""
python:
  description: The interpreter that the tasks that follow use.
  returned: when there is one
  type: str
  sample: /root/miniconda3/bin/python3
minimum_version:
  description: The oldest Python that the running ansible-core supports on hosts.
  returned: when there is an interpreter
  type: str
  sample: "3.9"
would_create:
  description: Whether a Python would have to be made, in check mode.
  returned: always
  type: bool
  sample: false
actions:
  description: What was done, or would be done.
  returned: always
  type: list
  elements: str
  sample: [made a Python by /root/miniconda3/bin/conda with the channel conda-forge]
ansible_facts:
  description: The facts of the host, and the interpreter as Ansible itself keeps a discovered one.
  returned: when there is an interpreter
  type: dict
  contains:
    discovered_interpreter_python:
      description: The interpreter.
      type: str
      returned: when it was not set by the user
      sample: /root/miniconda3/bin/python3
"""
