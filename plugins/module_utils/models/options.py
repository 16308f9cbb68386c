# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all models of a batch."""

from __future__ import annotations

from typing import NamedTuple

from ..transfer.remote_file import RemoteFile
from .download_cache import find_cache_path
from .prefetch import PrefetchDirectory


class BatchOptions(NamedTuple):
    """``proxies``: by origin, where it is not the common one; ``accept_change``: of every model (see ModelSpec)."""

    webui_dir: str
    allow_pickle: bool
    verify: str
    cache_dir: str | None
    huggingface_endpoint: str
    civitai_endpoint: str
    huggingface_token: str | None
    civitai_token: str | None
    connections: int
    proxies: dict[str, str]
    check_mode: bool
    accept_change: bool = False
    force: bool = False  # whether any file at the path of a single download may be replaced
    prefetch_dir: PrefetchDirectory | None = None  # what a download in the background has left for this batch
    list_name: str = ""  # of the entries: it is recorded as what wants their files, and only those are pruned
    state_file: str = ""  # where single downloads are recorded: what is as recorded may be replaced

    def cached_path(self, remote: RemoteFile) -> str | None:
        """Where the cache has ``remote``, or would have it; else where a download in the background has left it, or a part of it."""
        cached = find_cache_path(self.cache_dir, remote)
        return cached or (self.prefetch_dir.find(remote) if self.prefetch_dir else None)
