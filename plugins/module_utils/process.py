# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program and keep what it said."""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import signal
import subprocess
import time
from typing import Any, NamedTuple

from .errors import ProcessError
from .procfs import descendants, process_ids, started_with

WORK_VARIABLE = "SDOPS_WORK"
MAX_STDOUT = 64 << 20  # bytes of standard output: what is parsed is far smaller, and half of it would be worth nothing
MAX_STDERR = 1 << 20  # bytes of standard error: the last ones, which tell why a program failed
PIPE_READ_SIZE = 64 << 10


class Completed(NamedTuple):
    """Exit status and output (text, undecodable bytes replaced) of a finished program."""

    rc: int
    out: str
    err: str

    def tail(self, lines: int = 15) -> str:
        """The last ``lines`` lines of what it said, errors last: what a person needs to see of a failure."""
        output = (self.out + "\n" + self.err).strip().splitlines()
        return "\n".join(line for line in output[-lines:] if line.strip())


def run(
    argv: list[str],
    env: dict[str, str] | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
    text_in: str | None = None,
) -> Completed:
    """Run ``argv`` (no shell) with ``env`` on top of ours; ``timeout`` in seconds.

    Of standard error the last MAX_STDERR bytes are kept. Raises ProcessError when the program is missing, overruns or prints
    more than MAX_STDOUT bytes, and then ends it, with a ``timeout`` also all that it has started; a non-zero exit is the
    caller's to judge.
    """
    code, out, err = run_bytes(argv, env, cwd, timeout, None if text_in is None else text_in.encode())
    return Completed(code, _text(out), _text(err))


def run_bytes(
    argv: list[str],
    env: dict[str, str] | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
    data: bytes | None = None,
) -> tuple[int, bytes, bytes]:
    """(exit status, standard output, standard error) of what ``run`` does, as bytes."""
    try:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # with a limit it gets a group of its own, which can be ended as a whole; else it shall go with ours
            start_new_session=timeout is not None,
        )
    except OSError as exc:
        raise ProcessError(f"{argv[0]} could not be started: {exc.strerror or exc}.") from exc
    try:
        out, err = _communicate(process, data or b"", timeout)
        return process.returncode, out, err
    except BaseException as exc:
        _kill(process, timeout is not None)
        if isinstance(exc, subprocess.TimeoutExpired):
            raise ProcessError(f"{argv[0]} did not end within {timeout} seconds.") from exc
        raise


def _communicate(process: subprocess.Popen[bytes], data: bytes, timeout: float | None) -> tuple[bytes, bytes]:
    """Popen.communicate with bounds: it would keep all that a program prints. Raises ProcessError and TimeoutExpired."""
    until = None if timeout is None else time.monotonic() + timeout
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ, out)  # type: ignore[arg-type]
        waiting.register(process.stderr, selectors.EVENT_READ, err)  # type: ignore[arg-type]
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            waiting.register(process.stdin, selectors.EVENT_WRITE)
        while waiting.get_map():
            for key, _events in waiting.select(_remaining(until)):
                if key.data is None:
                    data = _write(key.fd, data)
                    more = bool(data)
                else:
                    piece = os.read(key.fd, PIPE_READ_SIZE)
                    more = bool(piece)
                    key.data.extend(piece)
                if not more:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
            if len(out) > MAX_STDOUT:
                program = str(process.args[0])  # type: ignore[index]
                raise ProcessError(
                    f"{program} printed more than {MAX_STDOUT >> 20} MiB and was stopped. Run it by hand to see what it prints."
                )
            del err[:-MAX_STDERR]
    process.wait(_remaining(until))
    return bytes(out), bytes(err)


def _write(handle: int, data: bytes) -> bytes:
    """Write what goes in; what is left of ``data``, nothing when the program reads no more."""
    try:
        return data[os.write(handle, data[:PIPE_READ_SIZE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""


def _remaining(until: float | None) -> float | None:
    """Seconds until the time is up, None for no limit. Raises TimeoutExpired, also while output never pauses."""
    left = None if until is None else until - time.monotonic()
    if left is not None and left <= 0:
        raise subprocess.TimeoutExpired("", 0)
    return left


def _text(data: bytes) -> str:
    """As a text pipe gives it: the locale's encoding, "\\n" for every end of line."""
    return io.TextIOWrapper(io.BytesIO(data), errors="replace").read()


def _kill(process: subprocess.Popen[bytes], group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()


def end_programs_with_module() -> None:
    """A signal that ends this process ends all that it has started, in groups of their own too, and then at once itself."""

    def end(signum: int, _frame: Any) -> None:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        os._exit(128 + signum)  # a thread that saw its program end would start it again

    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, end)


def work_environment(work: str) -> dict[str, str]:
    """Environment for programs that work on the path ``work``, which all that they start inherit; see end_all."""
    return {WORK_VARIABLE: os.path.abspath(work)}


def kill_leftovers(work: str) -> None:
    """Kill what an earlier run left at work on ``work``: a module that is killed takes its programs with it only here.

    The caller makes sure that the earlier run is over, by a lock for instance.
    """
    variable = f"{WORK_VARIABLE}={os.path.abspath(work)}"
    for _attempt in range(50):
        left = [pid for pid in process_ids() if pid != os.getpid() and started_with(pid, variable)]
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.1)
