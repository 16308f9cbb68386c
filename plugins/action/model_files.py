# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_files with live progress: a line per file reports how far it is."""

from __future__ import annotations

from ..plugin_utils.progress_action import ProgressActionBase


class ActionModule(ProgressActionBase):
    work = "download"
    killed = "What is complete is in its place and what is not is kept: run the playbook again and it resumes."

    def has_work(self) -> bool:
        # "absent" is over in a moment, and "prefetched" goes on without anybody
        return self._task.args.get("state", "present") == "present" and bool(self._task.args.get("models"))
