# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module detached on the target while its action plugin looks on: start, poll, take the result, stop, leave nothing.

Ansible's own async_wrapper carries the module. Its processes are found by the name of their temporary directory, which is
unique and stands in their command lines, so nothing has to be known about process ids beforehand.
"""

from __future__ import annotations

import posixpath
import shlex
from typing import Any, NamedTuple

from ansible import constants as C

from ..module_utils.errors import DetachedModuleError, NotStartedError
from ..module_utils.filesystem import parse_json

ASYNC_LIMIT = 30 * 24 * 3600  # seconds: Ansible wants one; the module has its own timeouts
PAUSE = 0.2  # seconds between two glances while a command waits on the target
ASYNC_KEYS = ("ansible_job_id", "started", "finished", "results_file")

# The name of the directory is put together by the shell: written out, the shell that searches would find itself.
# A shell's read needs no program that a small image may lack, and ends at no NUL.
PRELUDE = """
b=ansible-tmp-; n=%(name)s; d=%(parent)s/$b$n; j=%(job)s; p=%(progress)s
pids() { for c in /proc/[0-9]*/cmdline; do l=; { read -r l <"$c"; } 2>/dev/null
  case $l in *$b$n*) c=${c#/proc/}; echo "${c%%/cmdline}";; esac; done; }
running() { l=; { read -r l <"$j"; } 2>/dev/null; case $l in '{"started":'*) return 0;; *) return 1;; esac; }
pause() { sleep %(pause)s 2>/dev/null || sleep 1; }
"""
# Processes before the job's state: a module that ends in between has its result there, and is not taken for lost.
POLL_SCRIPT = """
i=0; while [ $i -lt %(pauses)d ] && running; do
  for q in %(pids)s; do [ -d "/proc/$q" ] || break 2; done; pause; i=$((i+1)); done
a=$(pids); if running; then s=running; elif [ -n "$l" ]; then s=ended; else s=gone; fi
[ -d /proc/self ] || a=unknown
if %(begun)s; then rm -f "$d"/AnsiballZ_*; fi 2>/dev/null
echo "sdops-state $s"; echo "sdops-pids" $a; echo "sdops-snapshot"; cat "$p" 2>/dev/null; echo
"""
# Whole groups, for what the module started. They are read from the kernel: the wrapper puts the module into a group of its
# own only after the fork, so on a busy machine the module may have begun in the wrapper's.
STOP_SCRIPT = """
group() { l=; { read -r l <"/proc/$1/stat"; } 2>/dev/null; l=${l##*) }; set -- $l; echo "$3"; }
o=$(group $$); g=$(for q in $(pids); do group "$q"; done)
send() { for q in $g; do [ "$q" = "$o" ] || kill -s "$1" -- "-$q"; done 2>/dev/null; }
send TERM
i=0; while [ $i -lt %(pauses)d ] && [ -n "$(pids)" ]; do pause; i=$((i+1)); done
send KILL; i=0; while [ $i -lt 5 ] && [ -n "$(pids)" ]; do pause; i=$((i+1)); done
"""
CLEAN_SCRIPT = """
[ -z "$j" ] || rm -f "$j" "$j.tmp"; %(tidy)s && rm -rf "$d" %(progress_dir)s
"""


class PollResult(NamedTuple):
    """What one poll saw. ``state`` is running, ended (there is a result), or lost (no process and no result)."""

    state: str
    pids: list[int]
    snapshot: dict[str, Any] | None


def is_supported(action: Any) -> bool:
    """Whether this connection can do it: a POSIX shell on the target, and modules that Ansible itself can detach."""
    connection = action._connection
    return getattr(connection._shell, "SHELL_FAMILY", "") == "sh" and not (
        getattr(connection, "has_native_async", False) or getattr(connection, "always_pipeline_modules", False)
    )


class DetachedModule:
    """One run of the action's own module. Private members of ActionBase are what Ansible offers for this."""

    def __init__(self, action: Any, task_vars: dict[str, Any]) -> None:
        self._action = action
        self._task_vars = task_vars
        self._tmpdir = ""
        self._progress_dir = (
            ""  # our directory for the progress file, where the temporary directory is not the module's to write
        )
        self._progress = ""
        self._has_user_progress_file = False  # the user watches the progress file, too
        self._job: dict[str, str] = {}
        self._start_result: dict[str, Any] = {}
        self._begun = False  # the module runs, and needs its file no more
        self._pids: list[int] = []
        self._all_pids: list[int] = []

    # --- the life of a run ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the module. Raises NotStartedError, and whatever Ansible raises when the target cannot be reached."""
        action = self._action
        task = action._task
        shell = action._connection._shell
        if shell.tmpdir is None:
            action._make_tmp_path()
        tmpdir = shell.tmpdir.rstrip("/")
        if not posixpath.basename(tmpdir).startswith("ansible-tmp-"):
            raise NotStartedError(f"The temporary directory {tmpdir} has a name of its own.")
        self._tmpdir = tmpdir
        self._has_user_progress_file = bool(task.args.get("progress_file"))
        if self._has_user_progress_file:
            self._progress = action._remote_expand_user(task.args["progress_file"])
        place = self._make_progress_dir() if action._is_become_unprivileged() else self._tmpdir
        if not self._has_user_progress_file:
            self._progress = place + "/progress.json"
        # Ansible unpacks the module below TMPDIR, and a module that is killed removes nothing; the user's own TMPDIR wins
        task.environment.insert(0, {"TMPDIR": place})
        task.async_val = ASYNC_LIMIT
        # else the wrapper removes the directory within five seconds after the end, and the last snapshot with it
        remove_tmp, action._cleanup_remote_tmp = action._cleanup_remote_tmp, False
        try:
            self._start_result = action._execute_module(
                module_args={**task.args, "progress_file": self._progress}, task_vars=self._task_vars, wrap_async=True
            )
        finally:
            action._cleanup_remote_tmp = remove_tmp
            task.async_val = 0
            del task.environment[0]
        self._job = {
            "id": self._start_result.get("ansible_job_id") or "",
            "file": self._start_result.get("results_file") or "",
        }
        if not (self._job["id"] and self._job["file"]):
            raise NotStartedError(
                "Ansible could not detach the module: {}".format(self._start_result.get("msg", "it did not say why."))
            )

    def _make_progress_dir(self) -> str:
        """A private directory of the user that the module runs as."""
        found = self._action._low_level_execute_command(
            'umask 077; mktemp -d "${TMPDIR:-/tmp}/sdops-progress-XXXXXXXX"'
        )
        lines = [line for line in found["stdout"].splitlines() if "/sdops-progress-" in line]
        if found["rc"] or not lines:
            raise NotStartedError("There is no place for the progress file: {}".format(found["stderr"].strip()))
        self._progress_dir = lines[-1].strip()
        return self._progress_dir

    def poll(self, seconds: float) -> PollResult:
        """Wait up to ``seconds`` on the target for something to end, then report. Raises DetachedModuleError and Ansible's own."""
        out = self._sh(
            POLL_SCRIPT,
            pauses=max(1, int(seconds / PAUSE)),
            pids=" ".join(str(pid) for pid in self._pids) or '""',
            # it holds the arguments, tokens among them: it shall not lie there for hours
            begun="true" if self._begun and not C.DEFAULT_KEEP_REMOTE_FILES else "false",
        )
        head, marker, tail = out.partition("sdops-snapshot\n")
        fields = dict(line.partition(" ")[::2] for line in head.splitlines() if line.startswith("sdops-"))
        if not marker or fields.get("sdops-state") not in ("running", "ended", "gone"):
            raise DetachedModuleError(f"The target answered with {out[-200:]!r}.")
        words = fields.get("sdops-pids", "").split()
        self._pids = [int(word) for word in words if word.isdigit()]
        self._all_pids.extend(pid for pid in self._pids if pid not in self._all_pids)
        state = fields["sdops-state"]
        if state != "ended":
            state = "running" if words else "lost"
        snapshot = self._snapshot(tail)
        self._begun = self._begun or snapshot is not None
        return PollResult(state, self._pids, snapshot)

    def result(self) -> dict[str, Any] | None:
        """The module's result as if it had run without detaching; None when it left none."""
        action = self._action
        data = action._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={
                "jid": self._job["id"],
                "mode": "status",
                "_async_dir": posixpath.dirname(self._job["file"]),
            },
            task_vars=self._task_vars,
        )
        if data.get("ansible_job_id") != self._job["id"]:
            raise DetachedModuleError("The target did not report the result: {}".format(data.get("msg", "")))
        # "started" is there while a job runs, and when there is no job
        if "started" in data or not data.get("finished"):
            return None
        stderr = data.get("stderr") or ""
        # what a module says on stderr is no part of its result when it is not detached
        for key in (*ASYNC_KEYS, "stderr", "stderr_lines"):
            data.pop(key, None)
        if data.get("failed") and "cmd" in data and ("data" in data or "outdata" in data):
            return self._without_result(data, stderr)
        arguments = (data.get("invocation") or {}).get("module_args")
        if not self._has_user_progress_file and isinstance(arguments, dict) and "progress_file" in arguments:
            arguments["progress_file"] = None
        for key in ("warnings", "deprecations"):
            messages = data.get(key) or []
            earlier = [each for each in self._start_result.get(key) or [] if each not in messages]
            if earlier:
                data[key] = [*earlier, *messages]
        if self._start_result.get("ansible_facts"):  # the interpreter that was discovered
            data["ansible_facts"] = {**self._start_result["ansible_facts"], **(data.get("ansible_facts") or {})}
        return data

    @staticmethod
    def _without_result(data: dict[str, Any], stderr: str) -> dict[str, Any] | None:
        """What async_wrapper reports when the module printed no result; None when it printed nothing at all."""
        if "outdata" in data:
            return {"failed": True, "msg": "The module could not be run: {}".format(data.get("msg"))}
        if not (data["data"].strip() or stderr.strip()):
            return None
        return {
            "failed": True,
            "msg": "The module ended without a result; see module_stderr for what it said.",
            "module_stdout": data["data"],
            "module_stderr": stderr,
        }

    def stop(self, seconds: float = 5.0) -> None:
        """End the module and all that it started, leaving it ``seconds`` to do so itself; then clean."""
        if not self._tmpdir:
            return
        self._sh(STOP_SCRIPT + CLEAN_SCRIPT, pauses=int(seconds / PAUSE), **self._leftovers())
        self._clean_as_login_user()

    def clean(self) -> None:
        """Remove the job file, the temporary directory and our progress file."""
        if not self._tmpdir:
            return
        self._sh(CLEAN_SCRIPT, **self._leftovers())
        self._clean_as_login_user()

    # --- details ----------------------------------------------------------------------------------------------------

    def _leftovers(self) -> dict[str, Any]:
        return {
            "tidy": "false" if C.DEFAULT_KEEP_REMOTE_FILES else "true",
            "progress_dir": shlex.quote(self._progress_dir) if self._progress_dir else "",
        }

    def _clean_as_login_user(self) -> None:
        """The temporary directory belongs to the user that logged in, who need not be the one that the module runs as."""
        if self._action._connection.become and not C.DEFAULT_KEEP_REMOTE_FILES:
            self._sh('rm -rf "$d"', sudoable=False)
        shell = self._action._connection._shell
        if (shell.tmpdir or "").rstrip("/") == self._tmpdir:
            shell.tmpdir = None

    def _snapshot(self, text: str) -> dict[str, Any] | None:
        try:
            snapshot = parse_json(text)
        except ValueError:
            return None
        if not isinstance(snapshot, dict):
            return None
        if self._has_user_progress_file and snapshot.get("pid") not in self._all_pids:
            return None  # the user's file still holds an earlier run
        return snapshot

    def _sh(self, script: str, sudoable: bool = True, **values: Any) -> str:
        parent, name = posixpath.split(self._tmpdir)
        prelude = PRELUDE % {
            "pause": PAUSE,
            "name": name[len("ansible-tmp-") :],
            "parent": shlex.quote(parent),
            "job": shlex.quote(self._job.get("file", "")),
            "progress": '"$d/progress.json"'
            if self._progress == self._tmpdir + "/progress.json"
            else shlex.quote(self._progress),
        }
        found = self._action._low_level_execute_command(prelude + script % values + "\ntrue", sudoable=sudoable)
        if found["rc"]:
            raise DetachedModuleError(
                "The target answered with {}: {}".format(found["rc"], found["stderr"].strip()[-300:])
            )
        return found["stdout"].replace("\r\n", "\n")  # ssh with a terminal, for sudo
