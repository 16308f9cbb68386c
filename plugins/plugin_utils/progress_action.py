# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action plugin with live progress: its module runs detached, and lines report how far it is."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from typing import Any, Iterator

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

from ..module_utils.errors import NotStartedError, SdopsError
from ..module_utils.terminal import printable
from .detached_module import DetachedModule, PollResult, is_supported
from .progress_view import View

DEFAULT_INTERVAL = 5.0  # seconds between two prints
MAX_POLL_SECONDS = 10.0  # seconds that one command stays on the target
UNREACHABLE_LIMIT = 300.0  # seconds without an answer from the target until the task gives up
MAX_RETRY_PAUSE = 30.0  # seconds between two tries to reach it

display = Display()


class _Interrupted(BaseException):
    """Ctrl-C, the end of the play, or the end of ansible-playbook itself."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _Unreachable(AnsibleConnectionFailure):
    """No answer for too long; nothing on the target can be stopped or removed."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Signals that end a worker raise _Interrupted first, once; afterwards they do what they did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ignore(_signum: int, _frame: Any) -> None:
        """The stop is under way."""

    def interrupt(signum: int, _frame: Any) -> None:
        for each in before:
            signal.signal(each, ignore)  # not SIG_IGN, which the commands that stop the module would inherit
        raise _Interrupted(signum)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for each in before:
            signal.signal(each, interrupt)
        yield
    except _Interrupted as exc:
        for each, handler in before.items():
            signal.signal(each, handler)
        os.kill(os.getpid(), exc.signum)
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class ProgressActionBase(ActionBase):
    """Base of the action plugins of modules with a ``progress_file``. They say when there is something to watch."""

    _supports_check_mode = True
    _supports_async = True
    work = "work"  # what goes on there while the target does not answer
    killed = ""  # what to do when the module was killed

    def has_work(self) -> bool:
        """Whether the arguments promise work that takes long."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        interval = self._interval(task_vars)
        # a user who set async watches in another way
        if (
            not interval
            or self._task.async_val
            or self._task.check_mode
            or not self.has_work()
            or not is_supported(self)
        ):
            return self._run_plain(task_vars)
        with interruptible():
            return self._run_detached(task_vars, interval)

    def _run_plain(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """As Ansible runs a module that has no action plugin."""
        wrap_async = bool(self._task.async_val) and not getattr(self._connection, "has_native_async", False)
        result = self._execute_module(task_vars=task_vars, wrap_async=wrap_async)
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _run_detached(self, task_vars: dict[str, Any], interval: float) -> dict[str, Any]:
        job = DetachedModule(self, task_vars)
        try:
            job.start()
            result = self._watch(job, task_vars, interval)
        except NotStartedError as exc:
            display.warning(f"[{self._name(task_vars)}] There will be no progress to see. {exc}")
            job.clean()
            return self._run_plain(task_vars)
        except _Unreachable:
            raise
        except BaseException:  # also the task's own time limit
            with contextlib.suppress(Exception):
                job.stop()
            raise
        try:
            job.clean()
        except Exception as exc:  # the work itself is done
            display.warning(
                f"[{self._name(task_vars)}] The traces of the run could not be removed: {printable(str(exc))}"
            )
        return result

    def _watch(self, job: DetachedModule, task_vars: dict[str, Any], interval: float) -> dict[str, Any]:
        """Poll and report until the module has ended; its result."""
        gc.enable()  # the action preflight has disabled it for tasks that end soon
        host = self._name(task_vars)
        view = View(host, is_masked=bool(self._task.no_log), language=self._language(task_vars))
        parent = os.getppid()
        displayed = 0.0
        wait = min(1.0, interval)  # a batch with nothing to do ends at once
        while True:
            poll = self._retry_unreachable(host, lambda seconds=wait: job.poll(seconds))
            now = time.monotonic()
            if poll.state != "running" or now - displayed >= interval - 0.5:
                displayed = now
                self._display_progress(view, poll, now)
            if poll.state == "ended":
                result = self._retry_unreachable(host, job.result)
                return self._lost_result(host) if result is None else result
            if poll.state == "lost":
                return self._lost_result(host)
            if os.getppid() != parent:
                raise _Interrupted(signal.SIGTERM)  # ansible-playbook is gone: nobody waits for this
            wait = min(interval, MAX_POLL_SECONDS)

    def _retry_unreachable(self, host: str, call: Any) -> Any:
        """``ask()``; while the target does not answer, the work goes on there and we try again."""
        since: float | None = None
        pause = 1.0
        while True:
            try:
                return call()
            except (AnsibleError, SdopsError, OSError) as exc:
                now = time.monotonic()
                since = now if since is None else since
                cause = " ".join(printable(str(exc)).split())[-200:]  # ssh hands on what the target says
                if now - since + pause > UNREACHABLE_LIMIT:
                    raise _Unreachable(
                        f"{host} has not answered for {int(now - since)} seconds ({cause}). The {self.work} may go on there. "
                        "Run the playbook again when it can be reached: what is complete stays, the rest is resumed."
                    ) from None  # Ansible would append it once more
                # not display.warning(): a task's warnings are shown when it is over
                display.display(
                    f"[{host}] no answer, the {self.work} goes on; next try in {int(pause)} s, for up to "
                    f"{int(UNREACHABLE_LIMIT - (now - since))} s more. {cause}",
                    color=C.COLOR_WARN,
                    stderr=True,
                )
                time.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_PAUSE)
                if (
                    isinstance(exc, AnsibleConnectionFailure)
                    and type(self._connection).reset is not ConnectionBase.reset
                ):
                    with contextlib.suppress(Exception):
                        self._connection.reset()

    def _display_progress(self, view: View, poll: PollResult, now: float) -> None:
        """Whatever goes wrong here is no reason to fail."""
        try:
            lines = view.lines(poll.snapshot, now) if poll.snapshot else []
            if lines:
                # One call: other hosts' lines do not come in between. On stderr: stdout may be a callback's JSON, and through
                # a pipe it would come minutes late.
                display.display("\n".join(lines), stderr=True)
        except Exception as exc:
            display.vvv(f"The progress could not be shown: {exc!r}")

    def _lost_result(self, host: str) -> dict[str, Any]:
        return {
            "failed": True,
            "msg": f"The module on {host} ended without a result: it was killed, perhaps for want of memory, or the machine was "
            f"restarted. {self.killed}",
        }

    def _name(self, task_vars: dict[str, Any]) -> str:
        host = str(task_vars.get("inventory_hostname", "?"))
        return f"{host} -> {self._task.delegate_to}" if self._task.delegate_to else host

    def _language(self, task_vars: dict[str, Any]) -> str:
        return str(self._templar.template(task_vars.get("sdops_language", "auto")))

    def _interval(self, task_vars: dict[str, Any]) -> float:
        """Seconds; 0 for no progress at all."""
        value = self._templar.template(task_vars.get("sdops_progress_interval", DEFAULT_INTERVAL))
        try:
            interval = float(value)
        except (TypeError, ValueError):
            display.warning(
                f"sdops_progress_interval is {value!r} and not a number of seconds; {int(DEFAULT_INTERVAL)} is used."
            )
            return DEFAULT_INTERVAL
        return interval if interval > 0 else 0.0
