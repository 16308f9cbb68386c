# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the threads of one download share: which bytes are missing, what the server can do, and when it is asked again."""

from __future__ import annotations

import errno
import os
import threading
import time

from ..errors import (
    DiskReserveError,
    HttpStatusError,
    PermanentError,
    RangesIgnoredError,
    SourceChangedError,
    TransferError,
)
from ..urls import redact_url
from . import disk_space
from .http import HttpClient
from .partial import PartialFile
from .remote_file import RemoteFile
from .retry import RETRY_STATUSES, backoff
from .segments import MAX_SEGMENT, Segment, SegmentPlan

CONNECTION_BACKOFF = 10.0  # seconds before a connection more is tried with a server that turned one away
FIRST_READ = 1 << 18  # bytes of a connection's first read
MIN_READ = 16 << 10


class DownloadState:
    """One file on its way. Everything here is guarded by ``lock``, which is notified when something changes."""

    def __init__(self, http: HttpClient, remote: RemoteFile, partial: PartialFile, connections: int) -> None:
        self.http = http
        self.remote = remote
        self.partial = partial
        self.connections = max(1, connections)
        self.lock = threading.Condition()
        self.stop = threading.Event()
        self.plan = SegmentPlan(remote.size, partial.resume(), self.connections)
        self.error: BaseException | None = None
        self.sha256: str | None = None
        self.received = 0  # bytes of bodies, also of those that were not new
        self.gained = 0
        self.url = remote.url  # later the signed link that it redirects to
        # with a hash, wrong responses cannot do harm: what is there is kept, whatever one of them says
        self.has_hash = bool(remote.sha256 or remote.git_sha1)
        self.version = remote.version
        self.single_stream = False  # one stream without ranges
        self.is_complete = remote.size is not None and self.plan.is_finished
        self.alive = 0  # connections
        self.max_connections = self.connections  # fewer when the server turns connections away
        self.next_connection_at = 0.0
        self.read_size = FIRST_READ
        self._connection_backoff = CONNECTION_BACKOFF / 2
        self._ranges_ignored = 0
        self._stalls = self._gained_at_stall = 0  # connections given up since ``gained`` was that

    def fail(self, error: BaseException) -> None:
        """End the download with ``error``, unless it has ended already."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error = (
                DiskReserveError(
                    os.path.dirname(self.partial.path), redact_url(self.remote.url), disk_space.DISK_RESERVE
                )
                if self.plan.size is None
                else TransferError(
                    f"The disk of {self.partial.path} is full. What was fetched is kept: free space and run again."
                )
            )
        with self.lock:
            if self.error is None and not self.stop.is_set():
                self.error = error
            self.stop.set()
            self.lock.notify_all()

    def raise_connection_limit(self) -> None:
        """Allow a connection more, where the server turned some away and that was long enough ago. The caller holds the lock."""
        if self.max_connections < self.connections and time.monotonic() >= self.next_connection_at:
            self.max_connections += 1
            self.next_connection_at = time.monotonic() + self._connection_backoff

    def drop_stalled(self, now: float) -> int:
        """Take their segments from stalled connections: a few bytes now and then keep a socket's timeout away.

        The caller holds the lock. Returns how many connections were dropped without a byte gained between them.
        """
        for segment in list(self.plan.active):
            writing = segment.writing_until > segment.at
            if not segment.opened or writing or now - segment.progressed_at <= self.http.timeout:
                continue
            segment.dropped = True  # its thread ends by itself when its read returns
            self.read_size = MIN_READ
            self.partial.journal.add(self.plan.release(segment))
            self.alive -= 1
            self._stalls = (self._stalls if self.gained == self._gained_at_stall else 0) + 1
            self._gained_at_stall = self.gained
        return self._stalls if self.gained == self._gained_at_stall else 0

    def next_segment(self) -> Segment | None:
        """What a connection fetches next; it waits while something may come back from one that breaks. None: nothing for it."""
        with self.lock:
            while not self.stop.is_set() and not self.is_complete:
                if self.single_stream or self.plan.size is None:
                    # the first request asks for a part: the response tells the size, and whether there are parts at all
                    if self.single_stream and self.alive > 1:
                        return None
                    if self.single_stream:
                        return self.plan.take_single()
                    start = self.plan.contiguous_end(0)
                    first = Segment(start, start + MAX_SEGMENT)
                    self.plan.active.append(first)
                    return first
                segment = self.plan.take() or self.plan.split()
                if segment is not None:
                    return segment
                if self.alive > 1 and len(self.plan.active) < 2:
                    return None
                self.lock.wait(0.2)
        return None

    def finish_segment(self, segment: Segment) -> int | None:
        """Note what a connection fetched of ``segment``, in bytes; None when the download or the segment was taken from it."""
        with self.lock:
            if self.stop.is_set() or segment.dropped:
                return None
            start, end = self.plan.release(segment)
            self.partial.journal.add((start, end))
            if self.plan.size is not None and self.plan.contiguous_end(0) == self.plan.size:
                self.is_complete = True
            self.lock.notify_all()
        return end - start

    def retry_delay(self, error: TransferError, attempt: int, fresh_links: int) -> float | None:
        """Seconds until a connection tries again; None when it ends, with or without the whole download.

        ``attempt`` and ``fresh_links``: its failures since anything arrived on any connection, and those of fresh links.
        """
        with self.lock:
            if isinstance(error, RangesIgnoredError):
                self._ranges_ignored += 1
                if self.received and self._ranges_ignored <= 3:
                    return backoff(attempt)
                self.single_stream = True  # the others end, the last one takes it all
                return None if self.alive > 1 else 0.0
            if isinstance(error, HttpStatusError):
                if error.expired and fresh_links <= 2:
                    return 0.0 if fresh_links == 1 else backoff(fresh_links)
                if self.alive > 1 and self.received:
                    self._lower_connection_limit(error.wait or 0.0)
                    return None
                passes = not error.expired and (error.status in RETRY_STATUSES or (error.status == 404 and attempt < 2))
            elif isinstance(error, SourceChangedError):
                passes = self.has_hash and attempt < 2  # one odd response is no proof
            else:
                passes = not isinstance(error, PermanentError)
            if not passes or attempt >= self.http.retries:
                self.fail(error)
                return None
            return backoff(attempt, getattr(error, "wait", None))

    def _lower_connection_limit(self, wait: float) -> None:
        """The server wants fewer connections, for some time."""
        self.max_connections = self.alive - 1
        now = time.monotonic()
        if now >= self.next_connection_at:  # several are turned away at once
            self._connection_backoff *= 2
        self.next_connection_at = max(self.next_connection_at, now + max(self._connection_backoff, wait))

    def learn_size(self, size: int, segment: Segment | None = None) -> None:
        """The server reported the size.

        Raises SourceChangedError when it is another than promised, PermanentError when it does not fit the disk.
        """
        if self.plan.size is None and self.remote.size is None:  # the free space could not be checked before
            done = sum(end - start for start, end in self.plan.done)
            try:
                disk_space.check_space([(os.path.dirname(self.partial.path), size - done)])
            except TransferError as exc:
                raise PermanentError(f"{redact_url(self.remote.url)}: {exc}") from None
        with self.lock:
            if self.plan.size is None and self.remote.size is None:
                self._plan_known_size(size, segment)
            elif self.plan.size != size:
                raise SourceChangedError(
                    f"{redact_url(self.remote.url)} has {size} bytes at its source where {self.plan.size} were promised. Run again; if "
                    "that stays, the mirror is wrong."
                )

    def _plan_known_size(self, size: int, segment: Segment | None) -> None:
        done = self.plan.done
        if done and done[-1][1] > size:
            raise SourceChangedError(
                f"{redact_url(self.remote.url)} has {size} bytes at its source, and more had come before. Run again to get the new file."
            )
        active = self.plan.active
        self.plan = SegmentPlan(size, done, self.connections)
        self.plan.active = active
        if segment is not None:
            segment.end = min(segment.end or size, size) if not self.single_stream else size
            covered = [(segment.start, segment.end), *done]
            self.plan.missing = [] if self.single_stream else SegmentPlan(size, covered, 1).missing
        self.is_complete = size == 0
        self.lock.notify_all()

    def reject_full_disk(self) -> None:
        """Raise DiskReserveError when only the reserve is left; files of known size were counted before (see check_space)."""
        free = disk_space.free_bytes(os.path.dirname(self.partial.path))
        if free is not None and free <= disk_space.DISK_RESERVE:
            raise DiskReserveError(
                os.path.dirname(self.partial.path), redact_url(self.remote.url), disk_space.DISK_RESERVE
            )
