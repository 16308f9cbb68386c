#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_owner_info
short_description: Who listens on a TCP port
version_added: 0.1.0
description:
  - Tells which processes of the host listen on a port. Reads C(/proc), since rented boxes often have neither ss nor netstat.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  port:
    description: The port.
    type: int
    required: true
  supervisor_dir:
    description: Leave out the programs of the supervisord that has its files there.
    type: path
"""

EXAMPLES = r"""
- name: Look who has the port of the WebUI
  sdops.webui.port_owner_info:
    port: 6006
"""

RETURN = r"""
owners:
  description: The processes, with C(pid) and C(command), the program and its first argument.
  returned: always
  type: list
  elements: dict
  sample: [{pid: 412, command: /root/miniconda3/bin/python /root/miniconda3/bin/tensorboard}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.procfs import port_owners, unmanaged_port_owners


def main() -> None:
    module = AnsibleModule(
        argument_spec={"port": {"type": "int", "required": True}, "supervisor_dir": {"type": "path"}},
        supports_check_mode=True,
    )
    port, directory = module.params["port"], module.params["supervisor_dir"]
    module.exit_json(changed=False, owners=unmanaged_port_owners(port, directory) if directory else port_owners(port))


if __name__ == "__main__":
    main()
