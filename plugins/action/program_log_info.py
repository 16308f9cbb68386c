# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""program_log_info: shows the end of a log, and what is appended to it while it is followed."""

from __future__ import annotations

import gc
import time
from collections import deque
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils.errors import SdopsError
from ..module_utils.variables.rules import SECRET_NAMES
from ..plugin_utils.log_view import START, LogPosition, LogView, find_secrets, parse_answer, read_command
from ..plugin_utils.messages import message
from ..plugin_utils.progress_action import ProgressActionBase, display
from ..plugin_utils.role_options import role_options

POLL_PAUSE = 1.0  # seconds between two looks at a log that is followed


class ActionModule(ProgressActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True
    work = "program"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = ActionBase.run(self, tmp, task_vars)
        task_vars = task_vars or {}
        unused, args = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "str", "required": True},
                "program": {"type": "str", "required": True},
                "lines": {"type": "int", "default": 50},
                "follow": {"type": "bool", "default": False},
                "seconds": {"type": "float", "default": 0},
                "secret_files": {"type": "list", "elements": "str", "default": []},
                "missing_hint": {"type": "str", "default": ""},
            }
        )
        host = self._name(task_vars)
        path = self._remote_expand_user(args["path"])
        view = LogView(self._secrets(task_vars, args["secret_files"]))
        shown: deque[str] = deque(maxlen=max(1, args["lines"]))
        first = self._read(path, START, args["lines"])
        if first is None:
            raise AnsibleActionFail(
                f"{args['program']} has no log on {host}: {path} is not there, or this user must not read it. {args['missing_hint']}".rstrip()
            )
        if args["follow"]:
            gc.enable()  # as in progress_action
        if args["follow"] and not self._task.no_log:
            text = message("log_follows", self._language(task_vars), path=path)
            display.display(f"[{host}] {text}", stderr=True)
        (position, data), ends = first, time.monotonic() + (args["seconds"] or float("inf"))
        while True:
            over = not args["follow"] or time.monotonic() + POLL_PAUSE > ends
            lines = view.feed(data) + (view.flush() if over else [])
            shown.extend(lines)
            if lines and not self._task.no_log:
                # stdout waits for a full buffer where it is a pipe; stderr does not
                display.display("\n".join(f"[{host}] {line}" for line in lines), stderr=args["follow"])
            if over:
                return {**result, "changed": False, "path": path, "lines": list(shown)}
            time.sleep(POLL_PAUSE)
            position, data = self._retry_unreachable(
                # one that is not there is being renamed, and comes again
                host,
                lambda at=position: self._read(path, at, args["lines"]) or (at, b""),
            )

    def _read(self, path: str, position: LogPosition, lines: int) -> tuple[LogPosition, bytes] | None:
        """What comes after ``position``; None where there is no log."""
        return parse_answer(self._run_quietly(read_command(path, position, lines)))

    def _secrets(self, task_vars: dict[str, Any], files: list[str]) -> list[str]:
        """Values of variables that hold secrets, and those in files of the host, whole and behind a user name."""
        values = []
        for name, spec in role_options().items():
            if name in task_vars and (spec.get("no_log") or SECRET_NAMES.match(name)):
                try:
                    values.append(self._templar.template(task_vars[name]))
                except AnsibleError:  # of another host, or made of what is not there
                    continue
        for path in files:
            text = self._run_quietly(f"cat -- {self._connection._shell.quote(path)} 2>/dev/null || true").strip()
            values += [text, text.partition(":")[2]]
        return find_secrets(values)

    def _run_quietly(self, command: str) -> str:
        """What a command prints; connections would show it at -vvv."""
        context = self._connection._play_context
        before, context.no_log = context.no_log, True
        try:
            answer = self._low_level_execute_command(command)
        finally:
            context.no_log = before
        if answer.get("rc"):
            raise SdopsError(
                f"The log cannot be read: {str(answer.get('stderr') or answer.get('stdout')).strip()[-300:]}"
            )
        return str(answer.get("stdout") or "")
