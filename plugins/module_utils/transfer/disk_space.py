# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much may be written on a disk, and whether it is enough for what is to come."""

from __future__ import annotations

import os
import shutil
from typing import Iterable

from ..errors import TransferError
from ..filesystem import nearest_directory

DISK_RESERVE = 64 << 20  # bytes that are left free for everybody else


def free_bytes(path: str) -> int | None:
    """Bytes that may be written on the disk of ``path``; None where the file system does not tell (some network ones say 0 of 0)."""
    try:
        usage = shutil.disk_usage(nearest_directory(path))
    except OSError:
        return None
    return usage.free if usage.total else None


def check_space(needs: Iterable[tuple[str, int]]) -> None:
    """``needs`` are (directory, bytes) of everything that is to come, less than 0 for what goes; raises TransferError when a disk is too small."""
    disks: dict[int, tuple[str, int]] = {}
    for directory, needed in needs:
        existing = nearest_directory(directory)
        device = os.stat(existing).st_dev
        disks[device] = (existing, disks.get(device, ("", 0))[1] + needed)
    for existing, needed in disks.values():
        free = free_bytes(existing)
        if free is not None and needed > 0 and needed + DISK_RESERVE > free:
            raise TransferError(
                f"The disk of {existing} has {free / 2**30:.2f} GiB free, but {(needed + DISK_RESERVE) / 2**30:.2f} "
                "GiB are needed. Free space, or point the directories at a "
                "bigger disk."
            )
