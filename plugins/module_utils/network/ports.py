# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, from /proc: rented boxes often lack ss and netstat."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Set

LISTEN = "0A"


def listening_inodes(port: int, proc: str = "/proc") -> Set[str]:
    """Inodes of the sockets that listen on ``port``, IPv4 and IPv6."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name), encoding="ascii") as handle:
                lines = handle.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def owners(port: int, proc: str = "/proc") -> List[Dict[str, Any]]:
    """``[{"pid", "command"}]`` of the processes that listen on ``port``; pid 0 where it cannot be seen whose socket it is."""
    inodes = listening_inodes(port, proc)
    if not inodes:
        return []
    wanted = {"socket:[%s]" % inode for inode in inodes}
    found = []
    for pid in sorted((int(name) for name in os.listdir(proc) if name.isdigit())):
        try:
            directory = os.path.join(proc, str(pid), "fd")
            held = any(_target(os.path.join(directory, name)) in wanted for name in os.listdir(directory))
            if held:
                with open(os.path.join(proc, str(pid), "cmdline"), "rb") as handle:
                    words = handle.read().rstrip(b"\0").split(b"\0")
                found.append({"pid": pid, "command": _name([os.fsdecode(word) for word in words])})
        except OSError:
            continue
    return found or [{"pid": 0, "command": "a process of another container or user"}]


def _name(words: List[str]) -> str:
    """The program and the script that it runs, without the other arguments, which may hold secrets."""
    rest = [word for word in words[1:] if not word.startswith("-")]
    return " ".join([words[0], *rest[:1]]) if "-c" not in words[1:2] else words[0]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
