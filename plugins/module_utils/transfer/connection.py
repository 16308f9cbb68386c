# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One of the connections that a file is downloaded over."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ..errors import ConnectionFailedError, HttpStatusError, TransferError
from ..filesystem import CHUNK
from ..urls import redact_url
from .connection_errors import describe_connection_error
from .download_state import MIN_READ, DownloadState
from .error_pages import describe_error_page
from .response_check import check_response, web_page_error
from .responses import may_be_html
from .segments import Segment

FREE_SPACE_INTERVAL = 16 << 20  # bytes of a stream of unknown size between two looks at the free space


class DownloadConnection:
    """Fetches one segment after the other and writes it where it belongs, until nothing is left for it."""

    def __init__(self, state: DownloadState) -> None:
        self.state = state

    def run(self) -> None:
        """Body of the connection's thread. Its failures end it, or the whole download (see DownloadState.retry_delay)."""
        state = self.state
        handle = state.partial.open(os.O_WRONLY)  # its own: the download may end while this thread still waits
        attempt = fresh_links = gained_before = 0
        segment: Segment | None = None
        try:
            while True:
                segment = state.next_segment()
                if segment is None:
                    return
                error: TransferError | None = None
                try:
                    self._receive(segment, handle)
                except TransferError as exc:
                    error = exc
                fetched = state.finish_segment(segment)
                if fetched is None:
                    return
                if error is None:
                    attempt = fresh_links = 0
                    continue
                if fetched > 0:
                    attempt = fresh_links = 0  # it moves: the line is bad, not dead
                if state.gained != gained_before:  # the same while anything moves on any connection
                    attempt, gained_before = 0, state.gained
                if isinstance(error, HttpStatusError) and error.expired:
                    fresh_links += 1
                wait = state.retry_delay(error, attempt, fresh_links)
                if wait is None or state.stop.wait(wait):
                    return
                attempt += 1
        finally:
            os.close(handle)
            with state.lock:
                if segment is None or not segment.dropped:
                    state.alive -= 1
                state.lock.notify_all()

    def _open(self, segment: Segment) -> Any:
        """The response whose body begins at ``segment.at`` (or at 0, for one stream). Raises TransferError."""
        state = self.state
        with state.lock:
            url = state.url
        headers: dict[str, str] = {}
        if not state.single_stream and segment.end is not None:
            headers["Range"] = f"bytes={segment.at}-{segment.end - 1}"
        response, final_url = state.http.follow("GET", url, headers, stream=True)
        try:
            check_response(state, response, segment, url, final_url, bool(headers))
        except BaseException:
            response.close()
            raise
        return response

    def _receive(self, segment: Segment, handle: int) -> None:
        """Fetch a segment and write it. Raises TransferError; ``segment.at`` tells how far it got."""
        state = self.state
        response = self._open(segment)
        with contextlib.closing(response):
            is_whole = response.status_code == 200
            skip = segment.at if is_whole else 0  # here comes everything, whatever was asked for
            read_size = state.read_size
            # a part of a page, with the right range, is no login page
            may_be_error_page = is_whole and may_be_html(response, state.remote.filename)
            segment.progressed_at, segment.opened = time.monotonic(), True
            check_space_at = 0
            while segment.end is None or segment.at < segment.end:
                if segment.end is None and segment.at >= check_space_at:
                    state.reject_full_disk()
                    check_space_at = segment.at + FREE_SPACE_INTERVAL
                begun = time.monotonic()
                count = read_size if segment.end is None else min(read_size, segment.end - segment.at + skip)
                data = self._read(response, count)
                if not data:
                    break
                if may_be_error_page and describe_error_page(data):
                    raise web_page_error(response.url)
                may_be_error_page = False
                took = time.monotonic() - begun
                if took > 0.5:  # slow lines: smaller reads, so that one sees them move
                    read_size = max(read_size // 2, MIN_READ)
                elif took < 0.1:
                    read_size = min(read_size * 2, CHUNK)
                skipped = min(skip, len(data))
                skip -= skipped
                if not self._write(segment, handle, memoryview(data)[skipped:]):
                    return
                with state.lock:
                    state.received += len(data)
                    if state.received == len(data):
                        state.lock.notify_all()  # it works: let the other connections come
        self._finish(segment, response.url)

    def _read(self, response: Any, count: int) -> bytes:
        try:
            data: bytes = response.raw.read(count, decode_content=False)
        except Exception as exc:  # urllib3 and http.client have many
            reason = describe_connection_error(exc, self.state.http.timeout)
            raise ConnectionFailedError(
                f"The connection to {redact_url(response.url)} broke off: {reason}. Run again to go on with it."
            ) from None
        return data

    def _write(self, segment: Segment, handle: int, block: memoryview) -> bool:
        """Write what came for ``segment``; False when it was taken from this connection, so that nothing may be written."""
        state = self.state
        with state.lock:  # from here on these bytes are this thread's to write, and no other's
            if state.stop.is_set() or segment.dropped:
                return False
            if segment.end is not None:
                block = block[: max(segment.end - segment.at, 0)]
            segment.progressed_at = time.monotonic()
            segment.writing_until = segment.at + len(block)
            state.gained += len(block)
        while block:
            count = os.pwrite(handle, block, segment.at)
            block = block[count:]
            segment.at += count
        return True

    def _finish(self, segment: Segment, url: str) -> None:
        """The body has ended. Raises ConnectionFailedError when it ended early."""
        if segment.end is not None and segment.at < segment.end:
            raise ConnectionFailedError(
                f"{redact_url(url)} broke off after {segment.at} of {segment.end} bytes. Run again to go on with it."
            )
        if segment.end is None:
            with self.state.lock:
                self.state.plan.size = segment.at
                segment.end = segment.at
