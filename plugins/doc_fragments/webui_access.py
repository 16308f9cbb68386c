# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that log in to the WebUI."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  credentials_file:
    description:
      - File (0600) whose first line is C(user:password) of the API.
      - They are sent only to a WebUI on this host, and only when the process that accepted the connection is the one that
        O(program) names, or a child of it. Without O(program), it must be a process of root or of the user who owns the file.
    type: path
  program:
    description: Name of the WebUI's program under supervisor.
    type: str
  supervisor_dir:
    description: Directory of that supervisord.
    type: path
"""
