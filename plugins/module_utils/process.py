# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program and keep what it said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Dict, List, NamedTuple, Optional

from .errors import SdopsError

MARK = "SDOPS_WORK"


class ProcessError(SdopsError):
    """A program could not be started, or did not end in time."""


class Completed(NamedTuple):
    """Exit status and output (text, undecodable bytes replaced) of a finished program."""

    rc: int
    out: str
    err: str

    def tail(self, lines: int = 15) -> str:
        """The last ``lines`` lines of what it said, errors last: what a person needs to see of a failure."""
        said = (self.out + "\n" + self.err).strip().splitlines()
        return "\n".join(line for line in said[-lines:] if line.strip())


def run(
    argv: List[str],
    env: Optional[Dict[str, str]] = None,
    cwd: Optional[str] = None,
    timeout: Optional[float] = None,
    text_in: Optional[str] = None,
) -> Completed:
    """Run ``argv`` (no shell) with ``env`` on top of ours; ``timeout`` in seconds.

    Raises ProcessError when the program is missing or overruns, and then ends it with all that it has started; a non-zero
    exit is the caller's to judge.
    """
    try:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL if text_in is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            errors="replace",
            # with a limit it gets a group of its own, which can be ended as a whole; else it shall go with ours
            start_new_session=timeout is not None,
        )
    except OSError as exc:
        raise ProcessError("%s could not be started: %s." % (argv[0], exc.strerror or exc)) from exc
    try:
        out, err = process.communicate(text_in, timeout)
    except BaseException as exc:
        _end(process, timeout is not None)
        if isinstance(exc, subprocess.TimeoutExpired):
            raise ProcessError("%s did not end within %s seconds." % (argv[0], timeout)) from exc
        raise
    return Completed(process.returncode, out, err)


def _end(process: "subprocess.Popen[str]", group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def marked(work: str) -> Dict[str, str]:
    """Environment for programs that work on the path ``work``, which all that they start inherit; see end_all."""
    return {MARK: os.path.abspath(work)}


def end_all(work: str) -> None:
    """Kill what an earlier run left at work on ``work``: a module that is killed takes its programs with it only here.

    The caller makes sure that the earlier run is over, by a lock for instance.
    """
    wanted = ("%s=%s" % (MARK, os.path.abspath(work))).encode()
    for _ in range(50):
        left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has_mark(pid, wanted)]
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.1)


def _has_mark(pid: int, wanted: bytes) -> bool:
    if pid == os.getpid():
        return False
    try:
        with open("/proc/%d/environ" % pid, "rb") as handle:
            return wanted in handle.read().split(b"\0")
    except OSError:
        return False
