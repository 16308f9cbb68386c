# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Magnet links, through aria2 when it is on the target. BitTorrent verifies pieces; our own checks come on top."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import Callable, Dict, List, Tuple
from urllib.parse import parse_qs, urlsplit

from ..errors import SdopsError
from ..safety.names import safe_name
from ..transfer import disk
from ..transfer.fetch import RemoteFile

STALLED = 300  # seconds without a new byte


class MagnetError(SdopsError):
    """A magnet link does not give the file."""


def resolve(where: Dict[str, str]) -> RemoteFile:
    """``where`` has url (the magnet link). Nothing is asked: what is in it only the peers know. Raises MagnetError."""
    query = parse_qs(urlsplit(where["url"]).query)
    topic = re.match(r"urn:bt[im]h:([0-9A-Za-z]+)$", (query.get("xt") or [""])[0])
    if not topic:
        raise MagnetError("The magnet link has no xt=urn:btih:HASH; copy it again.")
    if shutil.which("aria2c") is None:
        raise MagnetError(
            "Magnet links need aria2 on the target, and there is none. Install it (apt-get install aria2), or give "
            "another source."
        )
    return RemoteFile(
        url=where["url"], filename=safe_name((query.get("dn") or [topic.group(1)])[0]), etag=topic.group(1).lower()
    )


def fetch(remote: RemoteFile, wanted: str, directory: str, tell: Callable[[int], None]) -> str:
    """Let aria2 bring the torrent below ``directory`` (it resumes there); the path of the file called ``wanted``.

    ``tell`` is told the bytes on disk; at the disk's reserve all of it is removed. A torrent of one file gives that one, whatever its name. Raises MagnetError.
    """
    os.makedirs(directory, exist_ok=True)
    argv = ["aria2c", "--dir", directory, "--seed-time=0", "--file-allocation=none", "--quiet=true", "--no-conf=true"]
    argv += ["--bt-stop-timeout=%d" % STALLED, "--allow-overwrite=true", "--auto-file-renaming=false", "--input-file=-"]
    full = False
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with process.stdin:  # type: ignore[union-attr]
            # not in argv: trackers put keys into such links
            process.stdin.write(remote.url.encode() + b"\n")  # type: ignore[union-attr]
        while process.poll() is None:
            time.sleep(0.5)
            free = disk.free_bytes(directory)
            full = free is not None and free <= disk.RESERVE
            if full:
                break
            tell(sum(size for _, size in _files(directory)))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if full:
        shutil.rmtree(directory, ignore_errors=True)
        raise MagnetError(
            "The disk of %s has no more than the reserve of %d MiB left, and how large the torrent is nobody knows before. aria2 was "
            "stopped and what had come was removed. Make room, or point the directory at a bigger disk."
            % (os.path.dirname(directory), disk.RESERVE >> 20)
        )
    if process.returncode != 0:
        raise MagnetError(
            "aria2 could not bring the torrent (exit status %d): no peers, or nothing came for %d minutes. What it has is "
            "kept for the next run." % (process.returncode, STALLED // 60)
        )
    files = _files(directory)
    named = [path for path, _ in files if os.path.basename(path) == wanted]
    found = named or [path for path, _ in files if len(files) == 1]
    if len(found) != 1:
        raise MagnetError(
            "The torrent has %s file called %s. It has: %s. Set file to one of them."
            % ("no" if not found else "more than one", wanted, ", ".join(sorted(os.path.basename(p) for p, _ in files)))
        )
    return found[0]


def _files(directory: str) -> List[Tuple[str, int]]:
    found = []
    for root, _dirs, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            if not name.endswith((".aria2", ".torrent")) and not os.path.islink(path):
                found.append((path, os.lstat(path).st_size))
    return found
