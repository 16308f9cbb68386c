# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A RemoteFile becomes a verified file beside its final place; publishing it is one rename.

Several connections fetch segments and write them where they belong; one thread hashes close behind them, so that the
pages it reads are still in memory; the calling thread keeps the journal safe on disk and reports the progress.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import Callable, NamedTuple, Optional

from ..errors import ConnectionFailedError, DiskReserveError, SourceChangedError, TransferError
from ..filesystem import CHUNK, git_sha1_of
from ..urls import redact_url
from .connection import DownloadConnection
from .download_state import MIN_READ, DownloadState
from .http import HttpClient
from .partial import PartialFile
from .remote_file import RemoteFile
from .segments import MIN_SEGMENT

SYNC_INTERVAL = 5.0  # seconds
REPORT_INTERVAL = 0.2  # seconds

# what it is doing, bytes that are there, bytes in all
ProgressCallback = Callable[[str, int, Optional[int]], None]


def no_progress(state: str, done: int, total: int | None) -> None:
    """For a download that nobody watches."""


class DownloadResult(NamedTuple):
    """An unpublished file: ``sha256`` of all of it, ``received`` bytes that came over the network this time."""

    partial: PartialFile
    sha256: str
    received: int


class Download:
    """One file on its way, with the threads that fetch and hash it."""

    def __init__(self, state: DownloadState, report: ProgressCallback) -> None:
        self.state = state
        self.report = report

    def run(self) -> None:
        """Returns when ``state.sha256`` is known. Raises TransferError, or whatever else ended a thread."""
        state = self.state
        self._start(self._hash)
        handle = state.partial.open(os.O_RDWR)
        try:
            self._watch(handle)
        finally:
            state.stop.set()
            with state.lock:
                for segment in list(state.plan.active):  # what slow threads have so far is not lost
                    state.partial.journal.add(state.plan.release(segment))
                state.lock.notify_all()
            state.partial.journal.close()
            if state.sha256 is not None and state.plan.size != os.fstat(handle).st_size:
                os.ftruncate(handle, state.plan.size or 0)
            os.close(handle)
        if state.error is not None:
            raise state.error

    def _watch(self, handle: int) -> None:
        """Start connections, drop stalled ones, report and keep the journal safe, until the hash is known or a thread failed."""
        state = self.state
        synced = reported = time.monotonic()
        with state.lock:
            while state.sha256 is None and state.error is None:
                self._start_connections()
                state.lock.wait(0.2)
                now = time.monotonic()
                self._drop_stalled(now)
                if now - reported >= REPORT_INTERVAL:
                    reported = now
                    activity = "verifying" if state.is_complete else "fetching"
                    self.report(activity, state.plan.bytes_done, state.plan.size)
                if now - synced >= SYNC_INTERVAL:
                    count = state.partial.journal.count
                    state.lock.release()
                    try:
                        os.fdatasync(handle)
                        state.partial.journal.mark_synced(count)
                    finally:
                        state.lock.acquire()
                    synced = time.monotonic()

    def _start(self, target: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                target()
            except BaseException as exc:  # a defect in a thread must not look like success
                self.state.fail(exc)

        threading.Thread(target=guarded, daemon=True).start()

    def _start_connections(self) -> None:
        """One to learn what the server can, then as many as there is work for. The caller holds the lock."""
        state = self.state
        if state.is_complete:
            return
        state.raise_connection_limit()
        plan = state.plan
        missing = sum(end - start for start, end in plan.missing)
        thread_count = min(state.max_connections, len(plan.active) + max(1, missing // MIN_SEGMENT))
        if plan.size is None or state.single_stream or not state.received:
            thread_count = 1
        if plan.missing or plan.size is None or state.single_stream or not state.alive:
            for _thread in range(thread_count - state.alive):
                state.alive += 1
                self._start(DownloadConnection(state).run)

    def _drop_stalled(self, now: float) -> None:
        state = self.state
        if state.drop_stalled(now) > state.http.retries * state.connections:
            state.error = ConnectionFailedError(
                f"{redact_url(state.url)} sends next to nothing: fewer than {MIN_READ} bytes in {state.http.timeout:g} seconds on each "
                "connection. What was fetched is kept: run again."
            )

    def _hash(self) -> None:
        state = self.state
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(CHUNK))
        at = 0
        handle = state.partial.open(os.O_RDONLY)
        try:
            while not state.stop.is_set():
                with state.lock:
                    end = state.plan.contiguous_end(at)
                    if end - at < CHUNK and not state.is_complete:
                        state.lock.wait(0.05)
                        continue
                    if state.is_complete and at == state.plan.size:
                        state.sha256 = digest.hexdigest()
                        state.lock.notify_all()
                        return
                while at < end and not state.stop.is_set():
                    count = os.preadv(handle, [buffer[: min(CHUNK, end - at)]], at)
                    if not count:
                        raise TransferError(
                            f"{state.partial.path} became shorter while it was fetched. Look who changes it, and run again."
                        )
                    digest.update(buffer[:count])
                    at += count
        finally:
            os.close(handle)


class Downloader:
    """Downloads RemoteFiles over one HttpClient, with up to ``connections`` for each file."""

    def __init__(self, http: HttpClient, connections: int = 8) -> None:
        self.http = http
        self.connections = connections

    def download(self, remote: RemoteFile, dest: str, report: ProgressCallback = no_progress) -> DownloadResult:
        """Bring the bytes beside ``dest`` and verify them. Resumes where an earlier try or run was interrupted.

        Raises TransferError; what was fetched is kept for the next run unless it is wrong.
        """
        partial = PartialFile(dest, remote)
        state = DownloadState(self.http, remote, partial, self.connections)
        try:
            Download(state, report).run()
        except DiskReserveError:
            partial.discard()
            raise
        except SourceChangedError:
            if not state.has_hash:
                partial.discard()
            raise
        finally:
            if state.sha256 is None and not partial.resumable_bytes():
                partial.discard()  # nothing that another run could use
        sha256 = state.sha256 or ""
        mismatch = _find_mismatch(remote, partial.path, sha256)
        if mismatch:
            partial.discard()
            raise TransferError(
                f"{remote.filename or 'The file'} from {redact_url(remote.url)} was thrown away: {mismatch}. Run again; if that stays, "
                "take it from another address."
            )
        return DownloadResult(partial, sha256, state.received)


def _find_mismatch(remote: RemoteFile, path: str, sha256: str) -> str | None:
    """What is wrong with the file at ``path``, as a part of a sentence; None when it is what ``remote`` says."""
    size = os.path.getsize(path)
    if remote.size is not None and size != remote.size:
        return f"it has {size} bytes and not {remote.size}"
    if remote.sha256:
        return None if sha256 == remote.sha256 else f"its SHA-256 is {sha256} and not {remote.sha256}"
    if remote.sha256_prefix and not sha256.startswith(remote.sha256_prefix):
        return f"its SHA-256 is {sha256} and does not begin with {remote.sha256_prefix}"
    if remote.git_sha1 and git_sha1_of(path) != remote.git_sha1:
        return f"its git blob id is not {remote.git_sha1}"
    return None
