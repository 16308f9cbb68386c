# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""conda_env with live progress: how much conda has written."""

from __future__ import annotations

from ..plugin_utils.progress_action import ProgressActionBase


class ActionModule(ProgressActionBase):
    work = "installation"
    killed = "What was downloaded is kept: run the playbook again, and what is half done is started over."

    def has_work(self) -> bool:
        return self._task.args.get("state", "present") == "present"
