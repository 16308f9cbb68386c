# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xformers_wheel with live progress: how many of the compiler's steps are done."""

from __future__ import annotations

from ..plugin_utils.progress_action import ProgressActionBase


class ActionModule(ProgressActionBase):
    work = "build"
    killed = "What was compiled is kept: run the playbook again and it goes on there."

    def has_work(self) -> bool:
        return bool(self._task.args.get("build", True))
