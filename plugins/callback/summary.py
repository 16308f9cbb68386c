# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
type: aggregate
short_description: How far each host is, and a table of all hosts at the end
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Prints one line when a host has finished a role, with its time and changes, and at the end a table with one line for each host,
    its result, its time, and what failed in one sentence. A host that was never reached is in the table too.
  - What a host says is printed without anything that a terminal would act upon, and without logins in URLs.
requirements:
  - enabled by C(callbacks_enabled = sdops.webui.summary) in the section C([defaults]) of ansible.cfg, or by the environment variable
    E(ANSIBLE_CALLBACKS_ENABLED)
"""

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

from ..module_utils.failures import failure_message
from ..module_utils.terminal import printable
from ..plugin_utils.role_validation import SHARED_ROLE

QUIET_SECONDS = 1.0  # a role that changed nothing in less has no line of its own
LONGEST_CAUSE = 300
HEADINGS = ("HOST", "RESULT", "CHANGED", "TIME", "WHAT FAILED")


def duration(seconds: float) -> str:
    """``seconds`` as ``m:ss``, or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def render_table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines with the cells of each row below each other; the last column has no width."""
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]


class HostProgress:
    """What one host has done so far. Times are seconds of ``time.monotonic``."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.ended = 0.0
        self.role = ""
        self.role_started = 0.0
        self.changed_before_role = 0
        self.changed = 0
        self.cause = ""

    def finish_role(self, now: float) -> str:
        """The line about the role that ends now, "" where there is nothing to tell."""
        seconds, changed = now - self.role_started, self.changed - self.changed_before_role
        if not self.role or (seconds < QUIET_SECONDS and not changed):
            return ""
        return f"{self.role} finished in {duration(seconds)}, " + (
            f"{changed} changed" if changed else "nothing changed"
        )


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "sdops.webui.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, HostProgress] = {}

    # --- while it runs ------------------------------------------------------------------------------------------------

    def v2_playbook_on_play_start(self, play: Any) -> None:
        variables = play.get_variable_manager().get_vars(play=play, include_hostvars=False)
        for name in variables.get("ansible_play_hosts_all") or ():
            self.hosts.setdefault(name, HostProgress())

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        progress, now = self._progress(host), time.monotonic()
        if progress.started is None:
            progress.started = now
        role = task._role.get_name() if task._role else ""
        # called by the other roles: its tasks count as theirs
        if role != SHARED_ROLE and role != progress.role:
            self._finish_role(host.get_name(), now)
            progress.role, progress.role_started, progress.changed_before_role = role, now, progress.changed

    def v2_runner_on_ok(self, result: Any) -> None:
        self._progress(result.host, ended=True).changed += bool(result.result.get("changed"))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._progress(result.host, ended=True)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        progress = self._progress(result.host, ended=True)
        if not ignore_errors:
            cause = failure_message(result.result, result.task.get_name())
            progress.cause = f"{result.task.get_name()}: {cause}"

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._progress(result.host, ended=True).cause = str(result.result.get("msg") or "")

    def _progress(self, host: Any, ended: bool = False) -> HostProgress:
        progress = self.hosts.setdefault(host.get_name(), HostProgress())
        if ended:
            progress.ended = time.monotonic()
        return progress

    def _finish_role(self, name: str, now: float) -> None:
        line = self.hosts[name].finish_role(now)
        self.hosts[name].role = ""
        if line:
            self._display.display(printable(f"{name}: {line}"))

    # --- at the end ---------------------------------------------------------------------------------------------------

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for name, progress in self.hosts.items():
            self._finish_role(name, progress.ended)
        rows = [self._row(name, stats.summarize(name)) for name in sorted(self.hosts)]
        if rows:
            self._display.banner("SUMMARY")
            for line in render_table([HEADINGS, *rows]):
                self._display.display(line)

    def _row(self, name: str, counts: dict[str, int]) -> tuple[str, ...]:
        progress = self.hosts[name]
        failed = bool(counts["failures"] or counts["unreachable"])
        if progress.started is None:
            result = "not run"
        elif counts["unreachable"]:
            result = "unreachable"
        else:
            result = "failed" if failed else "ok"
        cause = printable(progress.cause) if failed else ""
        if len(cause) > LONGEST_CAUSE:
            cause = cause[:LONGEST_CAUSE] + " ..."
        seconds = progress.ended - progress.started if progress.started is not None else 0
        return printable(name), result, str(progress.changed), duration(seconds), cause
