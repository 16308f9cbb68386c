# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_files with live progress: a line per file reports how far it is. A plan has sizes that only the controller can ask for."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

from ..module_utils.errors import SdopsError
from ..module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
from ..module_utils.models.spec import Endpoints, parse_model_entries
from ..plugin_utils.progress_action import ProgressActionBase

QUERY_TIMEOUT = 5  # seconds without an answer


class ActionModule(ProgressActionBase):
    work = "download"
    killed = "What is complete is in its place and what is not is kept: run the playbook again and it resumes."

    def has_work(self) -> bool:
        # "absent" is over in a moment, and "prefetched" goes on without anybody
        return self._task.args.get("state", "present") == "present" and bool(self._task.args.get("models"))

    def _run_plain(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        result = super()._run_plain(task_vars)
        if self._task.check_mode:
            self._ask_sizes(result.get("models") or [])
        return result

    def _ask_sizes(self, models: list[dict[str, Any]]) -> None:
        """Complete those of ``models`` that the target could not ask about, and whose size nobody knows, from here."""
        missing = [model for model in models if model["status"] == "unresolved" and not model["bytes"]]
        if not missing:
            return
        args = self._task.args
        # another way than the target's, whose proxies and files are not here
        given = {name: args[name] for name in TRANSFER_ARGUMENTS if name in args and "proxy" not in name}
        params: dict[str, Any] = {name: spec.get("default") for name, spec in TRANSFER_ARGUMENTS.items()} | given
        params |= {"timeout": QUERY_TIMEOUT, "retries": 0}
        if params["ca_path"] and not os.path.exists(params["ca_path"]):
            params["ca_path"] = None
        endpoints = Endpoints(params["huggingface_endpoint"], params["civitai_endpoint"])
        # a plan on a host that is not there yet needs all it can get, and no part of it has to be right
        with contextlib.suppress(SdopsError, OSError), tempfile.TemporaryDirectory(prefix="sdops-plan-") as directory:
            installer = make_installer(params, directory, check_mode=True)
            found: dict[str, dict[str, Any]] = {}
            for file in installer.install_all(parse_model_entries(args["models"], endpoints), 1):
                found.setdefault(file.spec.label, file.result())
            for model in missing:
                answer = found.get(model["source"], {})
                model.update({name: answer[name] for name in ("name", "kind", "bytes") if answer.get(name)})
