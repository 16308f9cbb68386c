# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much may be written on a disk, and whether it is enough for what is to come."""

from __future__ import annotations

import os
import shutil
from typing import Iterable

from ..filesystem import nearest_directory
from .errors import PermanentError, TransferError
from .request_urls import redact_url

DISK_RESERVE = 64 << 20  # bytes that are left free for everybody else


class DiskReserveError(PermanentError):
    """A file of unknown size does not fit: its source may never stop sending, so nothing of it is kept."""

    def __init__(self, path: str, url: str) -> None:
        super().__init__(
            f"{redact_url(url)} does not tell how large its file is, and the disk of {os.path.dirname(path)} has no more than the "
            f"reserve of {DISK_RESERVE >> 20} MiB left. The download was stopped and what had come was removed. Make room, point the "
            "directory at a bigger disk, or take the file from an address that tells its size."
        )


def free_bytes(path: str) -> int | None:
    """Bytes that may be written on the disk of ``path``; None where the file system does not tell (some network ones say 0 of 0)."""
    try:
        usage = shutil.disk_usage(nearest_directory(path))
    except OSError:
        return None
    return usage.free if usage.total else None


def check_space(needs: Iterable[tuple[str, int]]) -> None:
    """``needs`` are (directory, bytes) of everything that is to come; raises TransferError when a disk is too small."""
    disks: dict[int, tuple[str, int]] = {}
    for directory, needed in needs:
        there = nearest_directory(directory)
        device = os.stat(there).st_dev
        disks[device] = (there, disks.get(device, ("", 0))[1] + max(needed, 0))
    for there, needed in disks.values():
        free = free_bytes(there)
        if free is not None and needed and needed + DISK_RESERVE > free:
            raise TransferError(
                f"The disk of {there} has {free / 2**30:.2f} GiB free, but {(needed + DISK_RESERVE) / 2**30:.2f} GiB are needed. Make room, or point the directories at a "
                "bigger disk."
            )
