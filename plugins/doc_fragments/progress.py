# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules with an action plugin for live progress have in common."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_file:
    description:
      - JSON file that is updated about every second while the work goes on, for programs that watch. It stays. Check mode writes none.
      - It is not needed for the progress that Ansible shows.
    type: path
attributes:
  action:
    description: An action plugin of the same name runs a part of it on the controller.
    support: full
    details: Shows the progress every C(sdops_progress_interval) seconds (a variable, 5 by default; 0 for none). For that the module
      runs detached on the target, and its arguments lie in Ansible's temporary directory there (mode 0700) until it has begun, even
      where pipelining would keep them off the disk.
  async:
    description: Can be run with the C(async) keyword.
    support: full
    details: With C(async) there is no progress to see.
"""
