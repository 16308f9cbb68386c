# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of downloads: one file for each SHA-256, shared by all models that are this file."""

from __future__ import annotations

import os

from ..content_scan.sanitize import parse_hex_digits
from ..errors import SdopsError
from ..filesystem import reject_irregular
from ..transfer.remote_file import RemoteFile


def find_cache_path(cache_dir: str | None, remote: RemoteFile) -> str | None:
    """Where the cache has ``remote``, or would have it; None without a cache or a hash. Raises SdopsError."""
    sha256 = parse_hex_digits(remote.sha256, 64)
    if not cache_dir or sha256 is None or remote.url.startswith("file://"):
        return None
    path = cache_dir
    for name in ("sha256", sha256[:2]):
        path = os.path.join(path, name)
        if os.path.islink(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
            raise SdopsError(
                f"{path} is a symbolic link of another user, so the cache is not used. Remove it, or set another cache_dir."
            )
    return os.path.join(path, sha256)


def is_cached(path: str) -> bool:
    """Whether a file lies in the cache; a link there counts as damage. Raises FileTypeError for a directory, a FIFO, ..."""
    return not os.path.islink(path) and reject_irregular(path) is not None


def ensure_writable(directory: str) -> bool:
    """Make ``directory`` if it is absent. A cache that cannot be written is no reason to fail."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)
