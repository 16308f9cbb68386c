# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
type: stdout
short_description: Output for people, with steps, what changes, and results at the end
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Prints a line when a role begins, with its number and what it is about to install; one for each task that changed something, with
    its time, or, with several hosts, one when a host has finished a role; and one with the running task whenever nothing was printed
    for ten seconds. What is as it should be is not mentioned.
  - At the end are a table with one line for each host, the results that the playbooks report, and the cause of each failure. A host that
    was never reached is in the table too.
  - With C(-v) everything is printed as Ansible's own callback P(ansible.builtin.default#callback) does, and the table after it.
  - The language is that of the variable C(sdops_language).
  - What a host says is printed without anything that a terminal would act upon, and without logins in URLs.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as C(stdout_callback = sdops.webui.summary) in the section C([defaults]) of ansible.cfg, or by the environment variable
    E(ANSIBLE_STDOUT_CALLBACK)
"""

import threading
import time
from typing import Any

from ansible import constants as C
from ansible.playbook.block import Block
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.release import __version__ as core_version
from ansible.template import Templar

from ..module_utils.failures import failure_message
from ..module_utils.terminal import printable
from ..plugin_utils.messages import LANGUAGES, MESSAGES, detect_language, message
from ..plugin_utils.role_validation import SHARED_ROLE, old_core_error
from ..plugin_utils.task_names import display_name
from ..plugin_utils.text_tables import render_table

QUIET_SECONDS = 1.0  # a role that changed nothing in less has no line of its own
SILENCE_SECONDS = 9.5  # after which the task that runs is mentioned: before ten have passed
LONGEST_CAUSE = 300  # of what is printed on the way
HEADINGS = ("heading_host", "heading_result", "heading_changed", "heading_time")
# called by the others: their tasks count as those of the caller
HELPER_ROLES = (SHARED_ROLE, "webui_rollback")
# what tasks with such names report is the result of a playbook, and comes at its end
RESULT_TASKS = "Report the result"
PREFLIGHT_ACTION = "sdops.webui.preflight"
# they wait for what somebody else says
FOLLOWING_ACTIONS = ("sdops.webui.program_log_info",)
# what a rescue says that leaves the report to another one: __sdops_deferred_message of the role sdops
DEFERRED_MESSAGE = "The cause is reported at the end."


def duration(seconds: float) -> str:
    """``seconds`` as ``m:ss``, or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def has_rescue(task: Any) -> bool:
    """Whether the play goes on in a rescue when the task fails."""
    child, parent = task, task._parent
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue and child in parent.block:
            return True
        child, parent = parent, parent._parent
    return False


def role_name(task: Any) -> str:
    """The role of a task without the collection, "" for none."""
    return str(task._role.get_name()).rpartition(".")[2] if task._role else ""


def list_steps(play: Any, variables: dict[str, Any]) -> list[str]:
    """The roles of the play that the tags select, in the order in which their last tasks come.

    What is checked before them, and reported after them, is no step.
    """
    roles: dict[str, None] = {}
    others = {id(block) for block in [*play.pre_tasks, *play.post_tasks]}
    for block in play.compile():
        if id(block) in others:
            continue
        for task in _tasks(block):
            role = role_name(task)
            if (
                role
                and role not in HELPER_ROLES
                and not task.implicit
                and task.evaluate_tags(play.only_tags, play.skip_tags, variables)
            ):
                roles.pop(role, None)
                roles[role] = None
    return list(roles)


def _tasks(block: Any) -> Any:
    for entry in block.block:
        yield from _tasks(entry) if isinstance(entry, Block) else [entry]


class RoleSteps:
    """The steps of a play: its roles, one after the other, and what each is about to install."""

    def __init__(self, roles: list[str]) -> None:
        self.roles = roles
        self._begun = 0
        self._details: dict[str, str] | None = None

    def begin(self, role: str, host: Any, task: Any, language: str) -> str:
        """The line for a role whose turn it is, "" for another one.

        The role of the models begins before its turn, too: its models come while packages are installed.
        """
        if role not in self.roles[self._begun : self._begun + 1]:
            return ""
        self._begun += 1
        if self._details is None:
            self._details = self._template_details(host, task)
        key, details = f"step_{role}", self._details.get(role, "")
        text = ": ".join(filter(None, [role, message(key, language) if key in MESSAGES else ""]))
        return f"{self._begun}/{len(self.roles)} {text}{' (' + details + ')' if details else ''}"

    def _template_details(self, host: Any, task: Any) -> dict[str, str]:
        """By role, what its variable ``__ROLE_step`` says of what will be installed on the first host that is there."""
        variables = task.play.get_variable_manager().get_vars(play=task.play, host=host, task=task)
        engine = Templar(loader=task.get_loader(), variables=variables)
        details = {}
        for role in self.roles:
            name = f"__{role}_step"
            try:
                details[role] = str(engine.template(variables[name])).strip() if name in variables else ""
            except Exception:  # whatever is wrong with it, the role itself will tell
                details[role] = ""
        return details


class HostProgress:
    """What one host has done so far. Times are seconds of ``time.monotonic``."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.ended = 0.0
        self.role = ""
        self.role_started = 0.0
        self.changed_before_role = 0
        self.changed = 0
        self.place = ""
        self.cause = ""
        # the task that runs, and its start
        self.task: Any = None
        self.task_started = 0.0


def failure_lines(hosts: dict[str, HostProgress], language: str) -> list[str]:
    """For hosts with one cause one line, or one for each of several mistakes."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, progress in hosts.items():
        names.setdefault((progress.place, progress.cause), []).append(name)
    lines = []
    for (place, cause), same in names.items():
        causes = [printable(line) for line in cause.splitlines() if line.strip()]
        host, told = message("list_separator", language).join(same), causes[0] if len(causes) == 1 else ""
        text = message("failure", language, host=host, place=place, cause=told)
        lines += ["\n" + printable(text).rstrip(), *("- " + line for line in causes if len(causes) > 1)]
    return lines


class DisplayWatch:
    """When something was printed last (``last_line``): warnings, and the progress that an action plugin reports, count, too."""

    def __init__(self, display: Any) -> None:
        self.last_line = time.monotonic()
        self._show = display.display
        display.display = self._show_and_note

    def _show_and_note(self, *arguments: Any, **options: Any) -> None:
        if not options.get("log_only"):
            self.last_line = time.monotonic()
        self._show(*arguments, **options)


class CallbackModule(DefaultCallback):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "sdops.webui.summary"

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, HostProgress] = {}
        self.language = detect_language()
        self._steps = RoleSteps([])
        self._results: list[tuple[str, list[str]]] = []
        self._begun: Any = None  # the task that was begun last, on any host
        self._begun_at = 0.0
        self._ended = threading.Event()

    @property
    def _is_brief(self) -> bool:
        return self._display.verbosity == 0

    # --- while it runs ------------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        outdated = old_core_error(core_version)
        if outdated:
            # whose results have other attributes, so that nothing could be told of what fails
            self._line(outdated, color=C.COLOR_ERROR)
            raise SystemExit(1)
        super().v2_playbook_on_start(playbook)
        watch = DisplayWatch(self._display)
        threading.Thread(target=self._break_silence, args=[watch], daemon=True).start()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        manager = play.get_variable_manager()
        variables = manager.get_vars(play=play, include_hostvars=False)
        names = variables.get("ansible_play_hosts_all") or ()
        for name in names:
            self.hosts.setdefault(name, HostProgress())
        self._set_language(manager, play, names)
        self._steps = RoleSteps(list_steps(play, variables))
        self._play = play
        if self._is_brief:
            self._line(
                display_name(play.get_name(), self.language)
                + (message("plan_only", self.language) if play.check_mode else "")
            )
        else:
            super().v2_playbook_on_play_start(play)

    def _set_language(self, manager: Any, play: Any, names: Any) -> None:
        """By the variable of the first host: one run speaks one language."""
        host = next(iter(manager._inventory.get_hosts(list(names)[:1])), None)
        language = str(manager.get_vars(play=play, host=host, include_hostvars=False).get("sdops_language", "auto"))
        self.language = language if language in LANGUAGES else detect_language()

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._begun, self._begun_at = task, time.monotonic()
        if not self._is_brief:
            super()._task_start(task, prefix)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        super().v2_runner_on_start(host, task)
        progress, now = self._progress(host), time.monotonic()
        if progress.started is None:
            progress.started = now
        progress.task, progress.task_started = task, now
        role = role_name(task)
        if role and role not in HELPER_ROLES:
            if role != progress.role:
                self._finish_role(host.get_name(), now)
                progress.role, progress.role_started, progress.changed_before_role = role, now, progress.changed
            if self._is_brief:
                line = self._steps.begin(role, host, task, self.language)
                self._line(printable(line), color=C.COLOR_HIGHLIGHT)

    def v2_runner_on_ok(self, result: Any) -> None:
        progress = self._progress(result.host, ended=True)
        changed = bool(result.result.get("changed"))
        progress.changed += changed
        if not self._is_brief:
            super().v2_runner_on_ok(result)
            return
        if isinstance(result.task, TaskInclude):
            return
        self._handle_warnings(result.result)
        if result.task.resolved_action in C._ACTION_DEBUG and "msg" in result.result:
            self._report(result)
        elif changed:
            self._report_change(result, progress)

    def _report(self, result: Any) -> None:
        text = result.result["msg"]
        lines = [str(line) for line in text] if isinstance(text, list) else str(text).splitlines()
        name = result.host.get_name()
        if display_name(result.task.get_name(), "en").startswith(RESULT_TASKS):
            self._results.append((name, lines))
        else:
            self._host_lines(name, lines)

    def _finish_role(self, name: str, now: float) -> None:
        """Of several hosts, each has a line for a role; of a single one the tasks have."""
        progress = self.hosts[name]
        seconds, changed = now - progress.role_started, progress.changed - progress.changed_before_role
        if not progress.role or len(self.hosts) == 1 or (seconds < QUIET_SECONDS and not changed) or not self._is_brief:
            return
        key = "role_changed" if changed else "role_unchanged"
        text = message(key, self.language, role=progress.role, time=duration(seconds), count=changed)
        self._host_lines(name, [text])

    def _report_change(self, result: Any, progress: HostProgress) -> None:
        if len(self.hosts) > 1:
            return
        spent = duration(time.monotonic() - progress.task_started)
        key = "changed_task_check" if result.task.check_mode else "changed_task"
        text = message(key, self.language, task=self._task_name(result), time=spent)
        self._host_lines(result.host.get_name(), [text], color=C.COLOR_CHANGED)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._progress(result.host, ended=True)
        if not self._is_brief:
            super().v2_runner_on_skipped(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        progress = self._progress(result.host, ended=True)
        cause = failure_message(result.result, result.task.get_name())
        if not ignore_errors:
            progress.place, progress.cause = progress.role or self._task_name(result), cause
        if not self._is_brief:
            super().v2_runner_on_failed(result, ignore_errors)
        elif not ignore_errors:
            self._handle_warnings(result.result)
            # mistakes in variables are told at the end, once for all hosts that have them
            told_at_end = cause == DEFERRED_MESSAGE or result.task.resolved_action == PREFLIGHT_ACTION
            if not told_at_end and (len(self.hosts) > 1 or has_rescue(result.task)):
                text = message("failed_task", self.language, task=self._task_name(result), cause=self._shorten(cause))
                self._host_lines(result.host.get_name(), [text], color=C.COLOR_ERROR)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        progress = self._progress(result.host, ended=True)
        progress.place, progress.cause = self._task_name(result), str(result.result.get("msg") or "")
        if not self._is_brief:
            super().v2_runner_on_unreachable(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if not self._is_brief:
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if not self._is_brief:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if not self._is_brief:
            super().v2_runner_item_on_skipped(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if not self._is_brief:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Ansible ends such a run well."""
        groups = sorted({*self._play.get_variable_manager()._inventory.groups} - {"all", "ungrouped"})
        given = {"hosts": ", ".join(self._play.hosts), "groups": ", ".join(groups)}
        text = message("no_hosts" if groups else "no_inventory", self.language, **given)
        self._line("  " + printable(text), color=C.COLOR_WARN)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if not self._is_brief:
            super().v2_playbook_on_no_hosts_remaining()

    def _print_task_banner(self, task: Any) -> None:
        if not self._is_brief:
            super()._print_task_banner(task)
            return
        # above a diff
        self._last_task_banner = task._uuid
        self._line(f"  {printable(display_name(task.get_name(), self.language))}:")

    # --- lines --------------------------------------------------------------------------------------------------------

    def _line(self, text: str, color: str | None = None) -> None:
        if text:
            self._display.display(text, color=color)

    def _host_lines(self, name: str, lines: list[str], color: str | None = None) -> None:
        """Below a step; with the host's name where there are several."""
        prefix = f"  [{name}] " if len(self.hosts) > 1 else "  "
        for line in lines:
            self._line(printable(prefix + line.rstrip()), color=color)

    def _task_name(self, result: Any) -> str:
        return display_name(result.task.get_name(), self.language)

    @staticmethod
    def _shorten(text: str) -> str:
        return text if len(text) <= LONGEST_CAUSE else text[:LONGEST_CAUSE] + " ..."

    def _progress(self, host: Any, ended: bool = False) -> HostProgress:
        progress = self.hosts.setdefault(host.get_name(), HostProgress())
        if ended:
            progress.ended = time.monotonic()
            progress.task = None
        return progress

    def _break_silence(self, watch: DisplayWatch) -> None:
        """Until the end: mentions the task that runs longest, or else began last, when nothing was printed for a while."""
        while not self._ended.wait(max(0.2, watch.last_line + SILENCE_SECONDS - time.monotonic())):
            now = time.monotonic()
            running = [(each.task_started, each.task) for each in list(self.hosts.values()) if each.task]
            started, task = min(running, key=lambda each: each[0], default=(self._begun_at, self._begun))
            if now - watch.last_line < SILENCE_SECONDS or task is None or task.resolved_action in FOLLOWING_ACTIONS:
                continue
            name = display_name(task.get_name(), self.language)
            self._line("  " + printable(message("running", self.language, task=name, time=duration(now - started))))

    # --- at the end ---------------------------------------------------------------------------------------------------

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._ended.set()
        for name, progress in self.hosts.items():
            self._finish_role(name, progress.ended)
        if not self._is_brief:
            super().v2_playbook_on_stats(stats)
        rows = [self._row(name, stats.summarize(name)) for name in sorted(self.hosts)]
        if rows:
            self._line("\n" + "\n".join(render_table([tuple(message(key, self.language) for key in HEADINGS), *rows])))
        for _host, lines in self._results:
            self._line("\n" + "\n".join(printable(line.rstrip()) for line in lines))
        failed = [
            name
            for name in sorted(self.hosts)
            if stats.summarize(name)["failures"] or stats.summarize(name)["unreachable"]
        ]
        for line in failure_lines({name: self.hosts[name] for name in failed}, self.language):
            self._line(line, color=C.COLOR_ERROR)
        if failed:
            self._line(message("failure_hint", self.language))

    def _row(self, name: str, counts: dict[str, int]) -> tuple[str, ...]:
        progress = self.hosts[name]
        if progress.started is None:
            result = "result_not_run"
        elif counts["unreachable"]:
            result = "result_unreachable"
        else:
            result = "result_failed" if counts["failures"] else "result_ok"
        seconds = progress.ended - progress.started if progress.started is not None else 0
        return printable(name), message(result, self.language), str(progress.changed), duration(seconds)
