# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads in the background, which begin before the WebUI's directory is there: their directory, and the job that fills it.

The directory lies beside that of the WebUI, has the layout of a cache of downloads (see download_cache), and two more files:

``lock``: locked by the job as long as it runs. A job whose lock file is removed ends.
``stop``: whoever makes it asks the job to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from typing import Callable, Iterator

from ..errors import PrefetchError, PrefetchStoppedError
from ..filesystem import is_private_directory, open_regular, read_regular, unlink_all, write_atomic
from ..transfer.partial import PartialFile
from ..transfer.remote_file import RemoteFile
from .download_cache import find_cache_path, is_cached

POLL_INTERVAL = 0.2  # seconds between two looks for the request to stop
STOP_GRACE = 5.0  # seconds in which downloads put down what they have, before the job's process ends
STOP_LIMIT = 30.0  # seconds that a job is waited for
VERIFIED_SUFFIX = ".verified"


class PrefetchDirectory:
    """The directory of downloads for ``webui_dir``, on the same disk, so that a finished file is only renamed."""

    def __init__(self, webui_dir: str) -> None:
        head, name = os.path.split(os.path.realpath(webui_dir))
        self.path = os.path.join(head, f".{name}.sdops-prefetch")
        self._lock_file = os.path.join(self.path, "lock")
        self._stop_file = os.path.join(self.path, "stop")

    # --- files ------------------------------------------------------------------------------------------------------

    def find(self, remote: RemoteFile) -> str | None:
        """The path of a download that is here, whole or in part; None where there is none."""
        path = find_cache_path(self.path, remote) if self._is_private() else None
        if path and (is_cached(path) or os.path.isfile(PartialFile(path, remote).path)):
            return path
        return None

    @staticmethod
    def record_verified(path: str) -> None:
        """Note that the hash of the file at ``path`` was checked: it is not read again as long as size and time are the same."""
        write_atomic(path + VERIFIED_SUFFIX, _mark(path).encode())

    @staticmethod
    def is_verified(path: str) -> bool:
        try:
            return read_regular(path + VERIFIED_SUFFIX, limit=1024).decode("ascii", "replace") == _mark(path)
        except (OSError, ValueError):
            return False

    def discard(self, path: str) -> None:
        """Remove a download that has got its place; the directory too when it was the last one."""
        unlink_all([path, path + VERIFIED_SUFFIX])
        if not any(self._downloads()):
            shutil.rmtree(self.path, ignore_errors=True)

    def keep_only(self, hashes: set[str]) -> None:
        """Remove what is here of other files, which an earlier run with other models has left."""
        for path in list(self._downloads()):
            if os.path.basename(path).lstrip(".")[:64] not in hashes:
                unlink_all([path])

    def _downloads(self) -> Iterator[str]:
        for directory, _directories, names in os.walk(os.path.join(self.path, "sha256")):
            yield from (os.path.join(directory, name) for name in names if not name.endswith(".lock"))

    def _is_private(self) -> bool:
        """Whether the directory is there, and no other user's: what lies in it is not hashed again."""
        return is_private_directory(self.path)

    # --- the job ----------------------------------------------------------------------------------------------------

    def start_job(self, job: Callable[[Callable[[], None]], None]) -> bool:
        """Run ``job`` in a process of its own, and return at once; False when one runs already.

        ``job`` gets a function to call now and then, which raises PrefetchStoppedError when the job is to end. Raises PrefetchError.
        """
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            if not self._is_private():
                raise PrefetchError(f"{self.path} belongs to another user, or others may write to it. Remove it.")
            handle = open_regular(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise PrefetchError(f"{self.path} cannot be used: {exc.strerror}.") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as exc:  # a file system without locks: nobody could tell the job to end
            os.close(handle)
            raise PrefetchError(f"{self.path} cannot be locked: {exc.strerror}.") from exc
        unlink_all([self._stop_file])
        try:
            # the lock belongs to the open file, which the new process has too
            _run_detached(lambda: self._run_job(job))
        except OSError as exc:
            raise PrefetchError(f"No process can be started: {exc.strerror}.") from exc
        finally:
            os.close(handle)
        return True

    def _run_job(self, job: Callable[[Callable[[], None]], None]) -> None:
        stopped = threading.Event()

        def check() -> None:
            if stopped.is_set():
                raise PrefetchStoppedError

        worker = threading.Thread(target=job, args=(check,), daemon=True)
        worker.start()
        while worker.is_alive() and not self._is_stop_requested():
            worker.join(POLL_INTERVAL)
        stopped.set()
        worker.join(STOP_GRACE)

    def _is_stop_requested(self) -> bool:
        return os.path.lexists(self._stop_file) or not os.path.lexists(self._lock_file)

    def stop_job(self) -> None:
        """End the job, if one runs; what it has is kept. A job that does not end in time holds the locks of its files, no more."""
        if not self._is_private():
            return
        with contextlib.suppress(OSError), os.fdopen(open_regular(self._lock_file, os.O_RDWR), "r+") as lock:
            write_atomic(self._stop_file, b"")
            deadline = time.monotonic() + STOP_LIMIT
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    unlink_all([self._stop_file])
                    return
                time.sleep(POLL_INTERVAL)


def _mark(path: str) -> str:
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns}\n"


def _run_detached(work: Callable[[], None]) -> None:
    """Run ``work`` in a process that outlives this one, without a terminal and without its output."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):  # whoever started the module waits until its output is closed
                os.dup2(null, descriptor)
            os.chdir("/")
            work()
    finally:
        os._exit(0)
