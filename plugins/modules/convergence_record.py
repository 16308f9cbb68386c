#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: convergence_record
short_description: Write down how a run has left the host
version_added: 0.1.0
description:
  - Writes what the run was made of, fingerprints of files (kind, mode, owner, size, time of change) and the states of supervisord's programs
    into one file. M(sdops.webui.preflight) compares it in the next run, and a host on which nothing has changed is left alone.
  - Changes nothing else, and is no change itself. Where it cannot be written that is a warning, since then the next run only takes longer.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
attributes:
  check_mode:
    support: full
    details: Writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description: The file.
    type: path
    required: true
  key:
    description: What the run was made of, as RV(sdops.webui.preflight#module:convergence.key).
    type: str
    required: true
  parts:
    description: A part of the hash of each thing that the run was made of, as RV(sdops.webui.preflight#module:convergence.parts).
    type: dict
    default: {}
  paths:
    description: Files, links and directories that count; of a directory mode and owner do. One that is missing counts too.
    type: list
    elements: path
    default: []
  models_dir:
    description: Directory with the record of M(sdops.webui.model_files). The files in the record count too.
    type: path
  patterns:
    description: What matches one of these counts too, and which there are.
    type: list
    elements: dict
    default: []
    suboptions:
      directory:
        description: Directory that O(patterns[].pattern) is below of.
        type: path
        required: true
      pattern:
        description: Pattern as the shell has them.
        type: str
        required: true
  supervisor_dir:
    description: Directory of supervisord whose programs count.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Record the state of the host
  sdops.webui.convergence_record:
    path: /opt/sdops/webui/convergence.json
    key: "{{ __sdops_preflight.convergence.key }}"
    parts: "{{ __sdops_preflight.convergence.parts }}"
    paths: [/opt/sdops/supervisor/supervisord.conf]
    patterns:
      - {directory: /opt/sdops/supervisor, pattern: conf.d/*.conf}
    supervisor_dir: /opt/sdops/supervisor
"""

RETURN = r"""
files:
  description: Number of the files in the record.
  returned: when it was written
  type: int
  sample: 412
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.convergence import write_record
from ..module_utils.errors import FileTypeError
from ..module_utils.models.record import ModelRecord


def installed_models(directory: str | None) -> list[str]:
    """The record of models below ``directory``, and the paths of the files in it."""
    if not directory:
        return []
    record = ModelRecord(directory)
    return [record.path, *(os.path.join(directory, key) for key in sorted(record.entries))]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
            "parts": {"type": "dict", "default": {}},
            "paths": {"type": "list", "elements": "path", "default": []},
            "models_dir": {"type": "path"},
            "patterns": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "directory": {"type": "path", "required": True},
                    "pattern": {"type": "str", "required": True},
                },
            },
            "supervisor_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        paths = [*p["paths"], *installed_models(p["models_dir"])]
        count = write_record(p["path"], p["key"], p["parts"], paths, p["patterns"], p["supervisor_dir"])
        module.exit_json(changed=False, files=count)
    except (OSError, FileTypeError) as exc:
        module.warn(f"{p['path']} could not be written ({exc}): the next run will check everything again.")
        module.exit_json(changed=False)


if __name__ == "__main__":
    main()
