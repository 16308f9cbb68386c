# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of temporary files beside a target: short enough, and of this process alone where there are no locks."""

from __future__ import annotations

import hashlib
import os
import re
import socket

from ..procfs import process_exists

LONGEST_BASE = 180  # bytes of a name that others are made from, as .NAME.part.journal; file systems take 255


def shorten_name(name: str, longest: int = LONGEST_BASE) -> str:
    """``name`` as a base for longer names: one of more than ``longest`` bytes becomes its beginning and a hash of it."""
    raw = os.fsencode(name)
    if len(raw) <= longest:
        return name
    return "{}-{}".format(raw[:60].decode("utf-8", "ignore"), hashlib.sha256(raw).hexdigest()[:16])


def temp_base(dest: str, is_locked: bool) -> str:
    """``dest`` as a base for temporary names: itself under a lock, else with host and process in it."""
    if is_locked:
        return dest
    head, name = os.path.split(dest)
    return os.path.join(head, f"{_short_base(name)}.{_host_label()}-{os.getpid()}")


def _short_base(name: str) -> str:
    """Short enough for host and process behind it."""
    return shorten_name(name, LONGEST_BASE - 40)


def find_orphaned_bases(dest: str) -> list[str]:
    """The same of processes of this host that are no more."""
    head, name = os.path.split(dest)
    pattern = re.compile(rf"\.({re.escape(_short_base(name))}\.{re.escape(_host_label())}-([0-9]+))\.")
    found = [pattern.match(entry) for entry in (os.listdir(head) if os.path.isdir(head) else [])]
    return sorted({os.path.join(head, m.group(1)) for m in found if m and not process_exists(int(m.group(2)))})


def _host_label() -> str:
    return re.sub("[^A-Za-z0-9]", "_", socket.gethostname())[:24]
