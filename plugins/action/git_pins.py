# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git_pins with live progress: how much git has written."""

from __future__ import annotations

import shlex

from ..plugin_utils.progress_action import ProgressActionBase


class ActionModule(ProgressActionBase):
    work = "clone"
    killed = "What is complete is kept: run the playbook again."

    def has_work(self) -> bool:
        """Whether a checkout is missing: moving one that is there takes a moment, and looking at it less."""
        repos = self._task.args.get("repos") or []
        places = [str(repo["dest"]) for repo in repos if isinstance(repo, dict) and repo.get("dest")]
        present = " && ".join(f"test -e {shlex.quote(self._remote_expand_user(place))}/.git" for place in places)
        return bool(present) and self._low_level_execute_command(present)["rc"] != 0
