# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is doing, in a small JSON file for whoever wants to watch."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from typing import Any, Callable, Iterator

from .errors import FileTypeError
from .filesystem import reject_irregular, write_atomic
from .process import end_programs_with_module
from .procfs import bytes_written

WRITE_INTERVAL = 1.0  # seconds
SPEED_WINDOW = 5.0  # seconds that a speed is taken over


class ProgressEntry:
    """One file. ``state``: waiting, asking, fetching, verifying, writing, done, failed. ``done`` and ``total`` in bytes.

    ``check`` is called at each update; what it raises ends the work on the file. ``measure`` gives ``done`` whenever it is asked
    for, where nobody updates it.
    """

    def __init__(
        self, name: str, check: Callable[[], None] = lambda: None, measure: Callable[[], int] | None = None
    ) -> None:
        self.name = name
        self._check = check
        self._measure = measure
        self.state = "waiting"
        self.done = 0
        self.total: int | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, state: str, done: int | None = None, total: int | None = None) -> None:
        self._check()
        if state != self.state:
            self._seen.clear()  # hashing is no downloading
        self.state = state
        if done is not None:
            self.done = done
        if total is not None:
            self.total = total

    def measure(self) -> None:
        """Bring ``done`` up to date. What has ended since cannot take anything back."""
        if self._measure:
            self.done = max(self.done, self._measure())

    def speed(self, now: float) -> float:
        """Bytes per second over the last seconds of fetching or writing."""
        if self.state not in ("fetching", "writing"):
            return 0.0
        self._seen.append((now, self.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > SPEED_WINDOW:
            self._seen.popleft()
        (begun, before), (ended, after) = self._seen[0], self._seen[-1]
        return max(after - before, 0) / (ended - begun) if ended > begun else 0.0


class ProgressWriter:
    """Context manager: a thread writes ``path`` every second while it is open. Without ``path`` nothing is written.

    ``check`` is that of each entry.

    Entering it raises FileTypeError where something else than a file lies at ``path``.

    The file: {"pid", "started", "time", "state": "running"|"done", "files": [{"name", "state", "done", "total", "speed"}],
    "done", "total", "speed", "eta"}; bytes, bytes per second, seconds; null while unknown.
    """

    def __init__(self, path: str | None = None, check: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._check = check
        self._entries: list[ProgressEntry] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.time()

    def add_entry(self, name: str, measure: Callable[[], int] | None = None) -> ProgressEntry:
        entry = ProgressEntry(name, self._check, measure)
        with self._lock:
            self._entries.append(entry)
        return entry

    def snapshot(self, state: str = "running") -> dict[str, Any]:
        now = time.monotonic()
        with self._lock:
            for entry in self._entries:
                entry.measure()
            files: list[dict[str, Any]] = [
                {"name": n.name, "state": n.state, "done": n.done, "total": n.total, "speed": round(n.speed(now), 1)}
                for n in self._entries
            ]
        done = sum(f["done"] for f in files)
        speed = sum(f["speed"] for f in files)
        begun = [f for f in files if f["state"] in ("fetching", "verifying", "done")]
        known = bool(files) and all(f["total"] is not None or f["state"] == "failed" for f in files)
        total = sum(f["total"] or 0 for f in files) if known else None
        left = max(total - sum(f["done"] for f in begun), 0) if total is not None else None
        return {
            "pid": os.getpid(),
            "started": self._started,
            "time": time.time(),
            "state": state,
            "files": files,
            "done": done,
            "total": total,
            "speed": round(speed, 1),
            "eta": round(left / speed, 1) if left is not None and speed > 0 else None,
        }

    def _write(self, state: str) -> None:
        if self.path:
            with contextlib.suppress(OSError, FileTypeError):  # nobody should lose a download over its display
                write_atomic(self.path, json.dumps(self.snapshot(state)).encode(), 0o600, durable=False)

    def _run(self) -> None:
        while not self._over.wait(WRITE_INTERVAL):
            self._write("running")

    def __enter__(self) -> ProgressWriter:
        if self.path:
            if not os.path.islink(self.path):
                reject_irregular(self.path)
            self._write("running")
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        self._write("done")


@contextlib.contextmanager
def report_bytes_written(path: str | None, name: str) -> Iterator[None]:
    """While it is open, ``path`` says how many bytes this process and the programs that it started have written since.

    For programs that tell nothing of their progress to a program, such as git and uv. Whoever watches may stop us, and then they end
    too. Without ``path`` nothing of this.
    """
    if not path:
        yield
        return
    end_programs_with_module()
    before = bytes_written(os.getpid())
    with ProgressWriter(path) as progress:
        entry = progress.add_entry(name, lambda: bytes_written(os.getpid()) - before)
        entry.update("writing")
        try:
            yield
        except BaseException:
            entry.update("failed")
            raise
        entry.measure()
        entry.update("done")
