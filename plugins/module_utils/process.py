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

    Raises ProcessError when the program is missing or overruns; a non-zero exit is the caller's to judge.
    """
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            errors="replace",
            check=False,
        )
    except OSError as exc:
        raise ProcessError("%s could not be started: %s." % (argv[0], exc.strerror or exc)) from exc
    except subprocess.TimeoutExpired as exc:
        raise ProcessError("%s did not end within %s seconds." % (argv[0], timeout)) from exc
    return Completed(done.returncode, done.stdout, done.stderr)


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
