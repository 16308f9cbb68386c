# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this response the part of the file that was asked for? What it says of the file is learnt on the way."""

from __future__ import annotations

import re
from typing import Any

from ..errors import (
    ConnectionFailedError,
    HttpStatusError,
    PermanentError,
    RangesIgnoredError,
    SourceChangedError,
    TransferError,
)
from ..urls import redact_url
from .download_state import DownloadState
from .remote_file import is_same_version, read_version
from .responses import header_number, may_be_html, response_summary
from .retry import retry_after
from .segments import Segment

EXPIRED_LINK_STATUSES = (400, 401, 403, 404, 410)  # what storages answer to a link that is no longer good


def web_page_error(url: str) -> TransferError:
    """The error for a page where the file should be."""
    return PermanentError(
        f"{redact_url(url)} answered with a web page instead of the file; it may want a token. Check the address and the token."
    )


def check_response(
    state: DownloadState, response: Any, segment: Segment, url: str, final_url: str, ranged: bool
) -> None:
    """Raise TransferError unless the body of ``response`` begins at ``segment.at``, or at 0 for one stream.

    ``url`` was asked for, and ``final_url`` answered after redirects; ``ranged``: a part was asked for.
    """
    status = response.status_code
    if status == 416 and ranged:
        _check_unsatisfiable(state, response, segment, url, final_url)
        return
    if status not in (200, 206):
        raise _status_error(state, response, url, final_url)
    if status == 200 and may_be_html(response, state.remote.filename):
        length = header_number(response.headers.get("Content-Length"))
        other_size = state.remote.size and length not in (None, state.remote.size)
        if response.headers.get("Content-Encoding") or other_size:
            raise web_page_error(final_url)
    _check_version(state, response, url, final_url)
    if status == 206:
        _check_part(state, response, segment, final_url, ranged)
    else:
        _check_whole(state, response, segment, final_url, ranged)


def _check_unsatisfiable(state: DownloadState, response: Any, segment: Segment, url: str, final_url: str) -> None:
    """A 416: an empty file, or nothing left of one, is no error."""
    total = re.match(r"bytes \*/([0-9]{1,18})$", response.headers.get("Content-Range", ""))
    size = int(total.group(1)) if total else None
    if size == segment.at and state.plan.size in (None, size):
        state.learn_size(size, segment)
        segment.end = segment.at
        return
    if size is None or size == state.plan.size:
        raise ConnectionFailedError(
            f"{redact_url(final_url)} answered 416 for a part that it has. Run again, or take the file from another address."
        )
    raise SourceChangedError(
        f"{redact_url(url)} is shorter at its source than when the download began. Run again to get the new file."
    )


def _status_error(state: DownloadState, response: Any, url: str, final_url: str) -> HttpStatusError:
    """The error for an error status. After one of a signed link the source is asked for a new one."""
    status = response.status_code
    expired = final_url != state.remote.url and status in EXPIRED_LINK_STATUSES
    summary = response_summary(response)
    if expired:
        with state.lock:
            if state.url == url:
                state.url = state.remote.url
    return HttpStatusError(
        "{} answered {} when asked for the file{}. Run again later, or check the address.".format(
            redact_url(final_url), status, f": {summary}" if summary else ""
        ),
        status,
        expired,
        retry_after(response),
    )


def _check_version(state: DownloadState, response: Any, url: str, final_url: str) -> None:
    with state.lock:
        if state.url == state.remote.url:
            state.url = final_url
        version = read_version(response.headers)
        if state.has_hash:
            return
        if state.version and version and not is_same_version(state.version, version):
            raise SourceChangedError(
                f"{redact_url(url)} changed at its source while it was fetched. Run again to get the new file. If that does not help, its "
                "servers disagree about the file's version (ETag): give its sha256, which decides."
            )
        state.version = state.version or version


def _check_part(state: DownloadState, response: Any, segment: Segment, final_url: str, ranged: bool) -> None:
    if not ranged:  # else it would be asked for ever
        raise PermanentError(
            f"{redact_url(final_url)} sends a part of the file (206) where all of it is asked for. Take it from another address."
        )
    span = re.match(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})$", response.headers.get("Content-Range", ""))
    if not span or int(span.group(1)) != segment.at:
        raise RangesIgnoredError(f"{redact_url(final_url)} answers ranges wrongly. Take the file from another address.")
    state.learn_size(int(span.group(3)), segment)


def _check_whole(state: DownloadState, response: Any, segment: Segment, final_url: str, ranged: bool) -> None:
    length = header_number(response.headers.get("Content-Length"))
    if length is not None and state.plan.size is not None:
        state.learn_size(length)  # before it is believed that this server knows no ranges
    if ranged:
        with state.lock:
            whole = segment.at == 0 and segment.end == state.plan.size
            if not whole and (segment.at or state.received or state.alive > 1):
                raise RangesIgnoredError(f"{redact_url(final_url)} ignores ranges. Take the file from another address.")
            if not whole:  # here comes everything: take it
                state.single_stream = True
                state.plan.missing = []
                segment.end = state.plan.size
    if length is not None:
        state.learn_size(length, segment)
