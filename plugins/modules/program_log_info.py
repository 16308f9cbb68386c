#!/usr/bin/python
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program_log_info
short_description: Show the end of a program's log, and follow it
version_added: 0.1.0
description:
  - Prints the last lines of a log on the host, each with the host's name before it; with O(follow) also what is appended, as it comes.
  - What a terminal would act upon is taken out. Values of the collection's variables that hold secrets, those in O(secret_files), and
    logins and tokens in URLs are masked.
  - A log that supervisord renames because it is full (C(LOG.1)) is followed into the new one.
  - This module is carried out by an action plugin on the controller and runs C(tail) on the host, so it needs no Python there. Lines
    that are followed are printed on stderr, others on stdout.
author: The sdops.webui authors (!UNKNOWN)
extends_documentation_fragment:
  - sdops.webui.attributes
  - sdops.webui.attributes.info_module
options:
  path:
    description: The log on the host.
    type: str
    required: true
  program:
    description: The name of the program, for the message where there is no log.
    type: str
    required: true
  lines:
    description: How many lines from the end are shown first.
    type: int
    default: 50
  follow:
    description: Whether to go on with what is appended.
    type: bool
    default: false
  seconds:
    description: How long it is followed; V(0) until the run is interrupted.
    type: float
    default: 0
  secret_files:
    description: Files on the host with a secret, or C(user:secret), which is masked.
    type: list
    elements: str
    default: []
  missing_hint:
    description: A sentence about what to do where there is no log.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the end of the WebUI's log
  sdops.webui.program_log_info:
    path: /opt/sdops/log/webui.log
    program: webui
    lines: 20
"""

RETURN = r"""
lines:
  description: The last lines that were shown, O(lines) of them at most.
  returned: success
  type: list
  elements: str
  sample: ["Model loaded in 4.2s"]
path:
  description: The log.
  returned: success
  type: str
  sample: /opt/sdops/log/webui.log
"""
