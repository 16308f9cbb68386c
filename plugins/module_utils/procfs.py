# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, and who has the other end of a connection, from /proc: rented boxes often lack ss.

Only the standard library, for the role webui_service installs this file beside idle_shutdown.py too.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Any, Callable

LISTEN = "0A"


def listening_inodes(port: int, proc: str = "/proc") -> set[str]:
    """Inodes of the sockets that listen on ``port``, IPv4 and IPv6."""
    return {
        fields[9]
        for fields in _tcp_table(proc)
        if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }


def owners(port: int, proc: str = "/proc") -> list[dict[str, Any]]:
    """``[{"pid", "command"}]`` of the processes that listen on ``port``; pid 0 where it cannot be seen whose socket it is."""
    inodes = listening_inodes(port, proc)
    return _holders(inodes, proc) if inodes else []


def foreign_owners(port: int, supervisor_dir: str, proc: str = "/proc") -> list[dict[str, Any]]:
    """As ``owners``, without the programs of the supervisord with this directory, also those that a former one left behind."""
    ours = set(with_arguments(["-c", os.path.join(supervisor_dir, "supervisord.conf")], proc))
    home = os.path.dirname(os.path.abspath(supervisor_dir)) + os.sep
    return [
        owner
        for owner in owners(port, proc)
        # whose sockets cannot be seen may be ours, where one of ours runs at all
        if not (ours & set(line_of(owner["pid"], proc)) if owner["pid"] else ours) and home not in owner["command"]
    ]


def _tcp_table(proc: str) -> list[list[str]]:
    """The lines of /proc/net/tcp and tcp6, as fields (proc(5)): address, remote address and state are 1 to 3, the inode is 9."""
    lines: list[list[str]] = []
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name), encoding="ascii") as handle:
                lines += [line.split() for line in handle.read().splitlines()[1:]]
        except OSError:
            continue
    return [fields for fields in lines if len(fields) > 9]


def _holders(inodes: set[str], proc: str) -> list[dict[str, Any]]:
    """As ``owners``, of the processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
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


def _address(text: str) -> tuple[str, int]:
    """``(IP address, port)`` of a field of /proc/net/tcp, whose words have this machine's byte order."""
    digits, _, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    raw = struct.pack("=%dI" % len(words), *words)
    return _plain(socket.inet_ntop(socket.AF_INET6 if len(words) > 1 else socket.AF_INET, raw)), int(port, 16)


def _plain(address: str) -> str:
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def peer_inode(connection: socket.socket, proc: str = "/proc") -> str | None:
    """Inode of the other end of a TCP connection; "0" until it is accepted, None where it is not an end on this host."""
    near = (_plain(connection.getsockname()[0]), connection.getsockname()[1])
    far = (_plain(connection.getpeername()[0]), connection.getpeername()[1])
    # the ports first: most lines are another connection's
    ports = (f"{far[1]:04X}", f"{near[1]:04X}")
    for fields in _tcp_table(proc):
        if (fields[1][-4:], fields[2][-4:]) == ports and (_address(fields[1]), _address(fields[2])) == (far, near):
            return fields[9]
    return None


def untrusted_peer(
    connection: socket.socket, is_trusted: Callable[[int], bool], seconds: float, proc: str = "/proc"
) -> str | None:
    """Who has the other end of ``connection`` and is not trusted, as the end of a sentence; None when all who have it are.

    Asked of the connection itself and not of its port: whoever listens there now need not be the one that accepted it.
    ``is_trusted`` is called with process ids. Waits ``seconds`` for the connection to be accepted.
    """
    deadline = time.monotonic() + seconds
    while True:
        inode = peer_inode(connection, proc)
        if inode is None:
            return "is not on this host, or has closed the connection"
        if inode != "0":
            break
        if time.monotonic() > deadline:
            return "has not accepted the connection within %d seconds" % seconds
        time.sleep(0.02)
    for holder in _holders({inode}, proc):
        if not holder["pid"] or not is_trusted(holder["pid"]):
            return "is %s (pid %d)" % (holder["command"], holder["pid"])
    return None


def start_time(pid: int, proc: str = "/proc") -> int | None:
    """When a process started, in clock ticks since the host did (proc(5)); None when it is gone."""
    try:
        with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as handle:
            return int(handle.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def is_part_of(pid: int, ask: Callable[[], tuple[int, int]], proc: str = "/proc") -> bool:
    """Whether ``pid`` is a supervised program or descends from it. ``ask`` gives (pid of the program, pid of supervisord).

    The number of a process that ended may be another one's by now: the program must be a child of supervisord, and the same
    one, with the same start time, before and after looking.
    """
    program, supervisord = ask()
    started = start_time(program, proc)
    inside = program in line_of(pid, proc) and supervisord in line_of(program, proc)[1:]
    return inside and started is not None and start_time(program, proc) == started and ask() == (program, supervisord)


def runs_as(pid: int, users: set[int], proc: str = "/proc") -> bool:
    """Whether a process has only ids of these users. Not by the owner of /proc/PID, which a process can make root."""
    try:
        with open(os.path.join(proc, str(pid), "status"), encoding="utf-8", errors="replace") as handle:
            ids = [line.split()[1:] for line in handle if line.startswith("Uid:")]
    except OSError:
        return False
    return len(ids) == 1 and {int(text) for text in ids[0]} <= users


def line_of(pid: int, proc: str = "/proc") -> list[int]:
    """``pid`` and its parents, up to the first process."""
    line: list[int] = []
    while pid > 0 and pid not in line:
        line.append(pid)
        try:
            with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as handle:
                pid = int(handle.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    return line


def with_arguments(words: list[str], proc: str = "/proc") -> list[int]:
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


def _name(words: list[str]) -> str:
    """The program and the script that it runs, without the other arguments, which may hold secrets."""
    rest = [word for word in words[1:] if not word.startswith("-")]
    return " ".join([words[0], *rest[:1]]) if "-c" not in words[1:2] else words[0]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
