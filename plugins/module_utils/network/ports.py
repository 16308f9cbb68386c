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


def line_of(pid: int, proc: str = "/proc") -> List[int]:
    """``pid`` and its parents, up to the first process."""
    line: List[int] = []
    while pid > 0 and pid not in line:
        line.append(pid)
        try:
            with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as handle:
                pid = int(handle.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    return line


def with_arguments(words: List[str], proc: str = "/proc") -> List[int]:
    """Processes of this user whose arguments end with ``words``."""
    wanted, found = [os.fsencode(word) for word in words], []
    for name in os.listdir(proc):
        directory = os.path.join(proc, name)
        try:
            if name.isdigit() and os.stat(directory).st_uid == os.getuid():
                with open(os.path.join(directory, "cmdline"), "rb") as handle:
                    if handle.read().rstrip(b"\0").split(b"\0")[1:][-len(wanted) :] == wanted:
                        found.append(int(name))
        except OSError:
            continue
    return sorted(found)


def _name(words: List[str]) -> str:
    """The program and the script that it runs, without the other arguments, which may hold secrets."""
    rest = [word for word in words[1:] if not word.startswith("-")]
    return " ".join([words[0], *rest[:1]]) if "-c" not in words[1:2] else words[0]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
