# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc says (proc(5)): who listens on a port or has the other end of a connection, processes, and the boot.

Rented boxes often lack ss and ps. Only the standard library, for the role webui_service installs this file beside
idle_shutdown.py too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from typing import Any, Callable, Iterable, Iterator

TCP_LISTEN = "0A"


def read_boot_id() -> str:
    """The id that the kernel gives each boot; "" where it does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def process_ids(proc: str = "/proc") -> list[int]:
    """All processes that this one can see, sorted."""
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def process_exists(pid: int, proc: str = "/proc") -> bool:
    return os.path.exists(os.path.join(proc, str(pid)))


def started_with(pid: int, variable: str, proc: str = "/proc") -> bool:
    """Whether a process was started with the environment variable ``NAME=value``; False where that cannot be seen."""
    try:
        with open(os.path.join(proc, str(pid), "environ"), "rb") as handle:
            return os.fsencode(variable) in handle.read().split(b"\0")
    except OSError:
        return False


def bytes_written(pid: int, proc: str = "/proc") -> int:
    """Bytes that a process and its descendants have handed to the kernel to write so far (``wchar`` of proc_pid_io(5)).

    The kernel adds those of a process that has ended to its parent's. 0 where that may not be seen.
    """
    total = 0
    for each in [pid, *descendants(pid, proc)]:
        with contextlib.suppress(OSError), open(os.path.join(proc, str(each), "io"), encoding="ascii") as handle:
            total += sum(int(line.split()[1]) for line in handle if line.startswith("wchar:"))
    return total


def listening_inodes(ports: Iterable[int], proc: str = "/proc") -> dict[int, set[str]]:
    """For each of ``ports`` the inodes of the sockets that listen there, IPv4 and IPv6."""
    found: dict[int, set[str]] = {port: set() for port in ports}
    for fields in _tcp_table(proc):
        port = int(fields[1].rpartition(":")[2], 16)
        if fields[3] == TCP_LISTEN and port in found:
            found[port].add(fields[9])
    return found


def port_owners(ports: Iterable[int], proc: str = "/proc") -> dict[int, list[dict[str, Any]]]:
    """For each of ``ports`` ``[{"pid", "command"}]`` of the processes that listen there; pid 0 where it cannot be seen whose socket it is."""
    inodes = listening_inodes(ports, proc)
    return {port: _socket_owners(inodes[port], proc) if inodes[port] else [] for port in inodes}


def unmanaged_port_owners(
    ports: Iterable[int], supervisor_dir: str, proc: str = "/proc"
) -> dict[int, list[dict[str, Any]]]:
    """As ``port_owners``, without the programs of the supervisord with this directory, also those that a former one left behind."""
    managed = set(find_by_arguments(["-c", os.path.join(supervisor_dir, "supervisord.conf")], proc))
    home = os.path.dirname(os.path.abspath(supervisor_dir)) + os.sep

    def is_managed(owner: dict[str, Any]) -> bool:
        # sockets of an unknown process may be those of a managed one, where one runs at all
        by_supervisord = managed & set(ancestry(owner["pid"], proc)) if owner["pid"] else managed
        return bool(by_supervisord) or home in owner["command"]

    return {
        port: [owner for owner in owners if not is_managed(owner)] for port, owners in port_owners(ports, proc).items()
    }


def _tcp_table(proc: str) -> Iterator[list[str]]:
    """The lines of /proc/net/tcp and tcp6, as fields (proc(5)): address, remote address and state are 1 to 3, the inode is 9.

    Each file is read when it is needed: for that the kernel looks at all places where a connection might be, some milliseconds long.
    """
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name), encoding="ascii") as handle:
                lines = handle.read().splitlines()[1:]
        except OSError:
            continue
        yield from (fields for fields in map(str.split, lines) if len(fields) > 9)


def _socket_owners(inodes: set[str], proc: str) -> list[dict[str, Any]]:
    """As ``port_owners``, of the processes that have one of these sockets open."""
    sockets = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for pid in process_ids(proc):
        try:
            directory = os.path.join(proc, str(pid), "fd")
            is_owner = any(_read_link(os.path.join(directory, name)) in sockets for name in os.listdir(directory))
            if is_owner:
                with open(os.path.join(proc, str(pid), "cmdline"), "rb") as handle:
                    words = handle.read().rstrip(b"\0").split(b"\0")
                found.append({"pid": pid, "command": _short_command([os.fsdecode(word) for word in words])})
        except OSError:
            continue
    return found or [{"pid": 0, "command": "a process of another container or user"}]


def _parse_address(text: str) -> tuple[str, int]:
    """``(IP address, port)`` of a field of /proc/net/tcp, whose words have this machine's byte order."""
    digits, _colon, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    return _unmap_ipv4(socket.inet_ntop(socket.AF_INET6 if len(words) > 1 else socket.AF_INET, raw)), int(port, 16)


def _unmap_ipv4(address: str) -> str:
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def peer_inode(connection: socket.socket, proc: str = "/proc") -> str | None:
    """Inode of the other end of a TCP connection; "0" until it is accepted, None where it is not an end on this host."""
    near = (_unmap_ipv4(connection.getsockname()[0]), connection.getsockname()[1])
    far = (_unmap_ipv4(connection.getpeername()[0]), connection.getpeername()[1])
    # the ports first: most lines are another connection's
    ports = (f"{far[1]:04X}", f"{near[1]:04X}")
    for fields in _tcp_table(proc):
        if (fields[1][-4:], fields[2][-4:]) == ports and (_parse_address(fields[1]), _parse_address(fields[2])) == (
            far,
            near,
        ):
            return fields[9]
    return None


def describe_untrusted_peer(
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
            return f"has not accepted the connection within {int(seconds)} seconds"
        time.sleep(0.02)
    for owner in _socket_owners({inode}, proc):
        if not owner["pid"] or not is_trusted(owner["pid"]):
            return f"is {owner['command']} (pid {owner['pid']})"
    return None


def process_start_time(pid: int, proc: str = "/proc") -> int | None:
    """When a process started, in clock ticks since the host did (proc(5)); None when it is gone."""
    try:
        return int(_stat_fields(pid, proc)[19])
    except (OSError, IndexError, ValueError):
        return None


def has_ended(pid: int, proc: str = "/proc") -> bool:
    """Whether a process is gone, or waits only for its parent to take note of that."""
    try:
        return _stat_fields(pid, proc)[0] == "Z"
    except OSError:
        return True


def _stat_fields(pid: int, proc: str) -> list[str]:
    """The fields of /proc/PID/stat from the third one, the state, on. Raises OSError for one that is gone."""
    with open(os.path.join(proc, str(pid), "stat"), encoding="utf-8", errors="replace") as handle:
        return handle.read().rpartition(")")[2].split()


def belongs_to_program(pid: int, query: Callable[[], tuple[int, int]], proc: str = "/proc") -> bool:
    """Whether ``pid`` is a supervised program or descends from it. ``query`` gives (pid of the program, pid of supervisord).

    The number of a process that ended may be another one's by now: the program must be a child of supervisord, and the same
    one, with the same start time, before and after looking.
    """
    program, supervisord = query()
    started = process_start_time(program, proc)
    inside = program in ancestry(pid, proc) and supervisord in ancestry(program, proc)[1:]
    return (
        inside
        and started is not None
        and process_start_time(program, proc) == started
        and query() == (program, supervisord)
    )


def runs_only_as(pid: int, users: set[int], proc: str = "/proc") -> bool:
    """Whether a process has only ids of these users. Not by the owner of /proc/PID, which a process can make root."""
    try:
        with open(os.path.join(proc, str(pid), "status"), encoding="utf-8", errors="replace") as handle:
            ids = [line.split()[1:] for line in handle if line.startswith("Uid:")]
    except OSError:
        return False
    return len(ids) == 1 and {int(text) for text in ids[0]} <= users


def ancestry(pid: int, proc: str = "/proc") -> list[int]:
    """``pid`` and its parents, up to the first process."""
    found: list[int] = []
    while pid > 0 and pid not in found:
        found.append(pid)
        try:
            pid = int(_stat_fields(pid, proc)[1])
        except (OSError, IndexError, ValueError):
            break
    return found


def descendants(pid: int, proc: str = "/proc") -> list[int]:
    """The children of a process, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for each in process_ids(proc):
        with contextlib.suppress(OSError, IndexError, ValueError):
            children.setdefault(int(_stat_fields(each, proc)[1]), []).append(each)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        added = children.pop(waiting.pop(), [])
        found += added
        waiting += added
    return found


def find_by_arguments(words: list[str], proc: str = "/proc") -> list[int]:
    """Processes of this user whose arguments end with ``words``."""
    arguments, found = [os.fsencode(word) for word in words], []
    for pid in process_ids(proc):
        directory = os.path.join(proc, str(pid))
        try:
            if os.stat(directory).st_uid == os.getuid():
                with open(os.path.join(directory, "cmdline"), "rb") as handle:
                    if handle.read().rstrip(b"\0").split(b"\0")[1:][-len(arguments) :] == arguments:
                        found.append(pid)
        except OSError:
            continue
    return found


def _short_command(words: list[str]) -> str:
    """The program and the script that it runs, without the other arguments, which may hold secrets."""
    rest = [word for word in words[1:] if not word.startswith("-")]
    return " ".join([words[0], *rest[:1]]) if "-c" not in words[1:2] else words[0]


def _read_link(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
