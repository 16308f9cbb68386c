# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source resolved to: one file, where it is and how it is known."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class RemoteFile(NamedTuple):
    """What a source resolved to.

    ``sha256`` (or only its first digits) or ``git_sha1`` in lower-case hex, ``size`` in bytes, ``approximate_size`` one that is only
    nearly right; each None when unknown. ``etag`` tells one version of the file from another where there is no hash;
    ``version`` is what the server's own responses say of it (see read_version), where that was seen.
    """

    url: str
    filename: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    etag: str | None = None
    revision: str | None = None
    kind: str | None = None
    approximate_size: int | None = None
    sha256_prefix: str | None = None
    version: str | None = None


def read_version(headers: Any) -> str | None:
    """What a response's headers say about the version of the file: a strong ETag and the date, a line each. None when they do not."""
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    etag = "" if etag.startswith("W/") else etag  # a weak one says nothing about bytes
    if etag and not re.search(r" 20\d\d ", date):  # the same for all files, as 1970 is: no help beside an ETag
        date = ""
    return "\n".join(filter(None, [etag, date and "modified " + date])) or None


def is_same_version(one: str, other: str) -> bool:
    """Whether two versions (see read_version) are of one file: nodes of a CDN may have ETags of their own, but one date."""
    return bool({*one.split("\n")} & {*other.split("\n")})
