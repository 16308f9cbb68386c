"""Which processes of this machine have a file open, or something in a file of /proc. They may end while one looks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.sdops.webui.plugins.module_utils.procfs import has_ended


def _processes() -> Iterator[Path]:
    return (Path("/proc", name) for name in os.listdir("/proc") if name.isdigit())


def pids_with_open(path: Path) -> list[int]:
    """The processes that have this file open, by the name it has or had before it was removed."""
    found = []
    for process in _processes():
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(process / "fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(process / "fd" / descriptor).removesuffix(" (deleted)") == str(path):
                        found.append(int(process.name))
                        break
    return found


def words_of_processes(kind: str) -> Iterator[tuple[int, list[bytes]]]:
    """Pid and words of each process; ``kind`` is ``cmdline`` or ``environ``."""
    for process in _processes():
        with contextlib.suppress(OSError):
            yield int(process.name), (process / kind).read_bytes().split(b"\0")


def kill_all(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """A signal to each of the processes that are still there: some end when another one does."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def ends_within(pid: int, seconds: float) -> bool:
    """Whether a process is gone by then: one that was killed on a busy machine is still there for a moment."""
    deadline = time.monotonic() + seconds
    while not has_ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
