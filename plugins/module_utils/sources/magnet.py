# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Magnet links, through aria2 when it is on the target. BitTorrent verifies pieces; our own checks come on top.

First the metadata (which files, how large), then the one file that is wanted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from typing import Any, Callable, NamedTuple
from urllib.parse import parse_qs

from ..content_scan.sanitize import sanitize_name
from ..errors import MagnetError, NoPeersError
from ..filesystem import read_regular, write_atomic
from ..transfer import disk_space
from ..transfer.remote_file import RemoteFile

STALL_LIMIT = 300  # seconds without a new byte
METADATA_LIMIT = 180  # seconds until somebody has to have said what is in the torrent
MAX_METADATA = 64 << 20  # bytes
MAX_BENCODE_DEPTH = 30  # levels of lists and dictionaries in a torrent
BTIH = re.compile(r"urn:btih:([0-9a-f]{40}|[a-z2-7]{32})\Z", re.IGNORECASE)
BTMH = re.compile(r"urn:btmh:", re.IGNORECASE)
NO_PEERS = "nobody who has it was found, or nothing came any more. What has come is kept for the next run"
_UNWRITABLE = "it cannot write below {directory}. Make that writable, or take what lies in its way away"
# by exit status: https://aria2.github.io/manual/en/html/aria2c.html#exit-status
ARIA2_EXIT_CAUSES = {
    6: "the network failed. Run again; what has come is kept",
    9: "there is not enough free space on the disk of {directory}. What has come is kept: free space and run again",
    **dict.fromkeys((14, 15, 16, 17, 18), _UNWRITABLE),
    11: "another aria2 is at the same file. Wait until it is done, and run again",
    12: "another aria2 is at the same torrent. Wait until it is done, and run again",
    19: "the name of a tracker cannot be resolved. Check the DNS of the target; torrents do not use the proxy",
    **dict.fromkeys((25, 26), "the torrent is damaged. Take another link"),
    27: "the magnet link is malformed. Copy it again",
    28: "this aria2 does not know an option that is needed. Install a newer one",
    32: "the pieces that came do not have their hashes. Run again, or take another link",
}


class TorrentFile(NamedTuple):
    """``number`` as --select-file counts, from 1; ``path`` below the directory that aria2 is given."""

    number: int
    path: str
    size: int


def parse_magnet_link(url: str) -> tuple[str, str, str]:
    """(the link as aria2 takes it, its topic, the name it gives itself or ""). Raises MagnetError."""
    raw = url.partition("?")[2]
    query = parse_qs(raw)
    topics = [
        value for key, values in query.items() if re.match(r"xt(\.\d+)?\Z", key, re.IGNORECASE) for value in values
    ]
    found = [match.group(1) for match in map(BTIH.match, topics) if match]
    if not found:
        if any(map(BTMH.match, topics)):
            raise MagnetError(
                "The magnet link is for BitTorrent version 2 alone (urn:btmh), which aria2 does not know. Take a link with "
                "xt=urn:btih (a hybrid torrent has both), or another source."
            )
        raise MagnetError("The magnet link has no xt=urn:btih:HASH of 40 hex digits or 32 letters; copy it again.")
    rest = [pair for pair in raw.split("&") if pair and not re.match(r"xt(\.\d+)?=", pair, re.IGNORECASE)]
    link = "magnet:?" + "&".join(["xt=urn:btih:" + found[0], *rest])
    return link, found[0].lower(), (query.get("dn") or [""])[0]


def resolve_magnet(locator: dict[str, str], name: str | None, torrent: str, keep_torrent: bool) -> RemoteFile:
    """``locator`` has url (the magnet link) and may have file; ``name`` is what the user calls the model.

    The peers are asked what is in the torrent; that is kept at ``torrent`` (it may hold a tracker's key) unless not ``keep_torrent``. Raises
    MagnetError and NoPeersError.
    """
    link, topic, display_name = parse_magnet_link(locator["url"])
    if shutil.which("aria2c") is None:
        raise MagnetError(
            "Magnet links need aria2 on the target, and there is none. Install it (apt-get install aria2), or give "
            "another source."
        )
    if os.path.isfile(torrent):
        data = read_regular(torrent, MAX_METADATA)
    else:
        data = _fetch_metadata(link, os.path.dirname(torrent) if keep_torrent else None)
        if keep_torrent:
            write_atomic(torrent, data, 0o600, durable=False)
    file = choose_torrent_file(list_torrent_files(data), locator.get("file"), name or display_name)
    return RemoteFile(url=link, filename=sanitize_name(os.path.basename(file.path)), size=file.size, etag=topic)


def download_torrent_file(
    remote: RemoteFile, torrent: str, selection: tuple[str | None, str], directory: str, report: Callable[[int], None]
) -> str:
    """Let aria2 download one file of ``torrent`` below ``directory`` (it resumes there); its path. ``selection``: see choose_torrent_file.

    ``report`` is called with the bytes on disk; at the disk's reserve all of it is removed. Raises MagnetError and NoPeersError.
    """
    file = choose_torrent_file(list_torrent_files(read_regular(torrent, MAX_METADATA)), *selection)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    options = [f"--select-file={file.number}", "--bt-remove-unselected-file=true", "--check-integrity=true"]
    # not the magnet link: what is known already need not be asked for again
    _run_aria2([*options, "--torrent-file=" + torrent], b"", directory, report, STALL_LIMIT)
    path = os.path.join(directory, file.path)
    if os.path.isfile(path) and not os.path.islink(path):
        return path
    name = os.path.basename(file.path)  # aria2 writes odd characters in directories otherwise
    found = [
        path for path in _walk_files(directory) if os.path.basename(path) == name and os.path.getsize(path) == file.size
    ]
    if len(found) != 1:
        raise MagnetError(f"aria2 says that it is done, but there is no {name} of {file.size} bytes. Run again.")
    return found[0]


def count_downloaded_bytes(directory: str) -> int:
    """Bytes on the disk below ``directory``: aria2 leaves holes where nothing has come yet."""
    found = 0
    for path in _walk_files(directory):
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            found += min(status.st_size, status.st_blocks * 512)
    return found


def choose_torrent_file(files: list[TorrentFile], selection: str | None, name: str) -> TorrentFile:
    """The file that the user's ``file`` means: a path in the torrent, or the end of one. Without it, the one called ``name``, or the only one.

    Raises MagnetError.
    """
    selected = selection or name
    found = [file for file in files if selected and ("/" + file.path).endswith("/" + selected.strip("/"))]
    if not found and len(files) == 1 and not selection:
        found = files
    if len(found) != 1:
        available = [f"{file.path} ({file.size} bytes)" for file in sorted(files, key=lambda file: -file.size)]
        raise MagnetError(
            "The torrent has {} file called {}. It has: {}{}. Set file to one of them.".format(
                "more than one" if found else "no",
                selected,
                ", ".join(available[:20]),
                ", ..." if len(available) > 20 else "",
            )
        )
    return found[0]


def list_torrent_files(data: bytes) -> list[TorrentFile]:
    """The files of a torrent (https://www.bittorrent.org/beps/bep_0003.html). Raises MagnetError."""
    try:
        info = _decode_bencode(data, 0, 0)[0][b"info"]
        name = _path_part(info.get(b"name.utf-8", info[b"name"]))
        if b"files" not in info:
            return [TorrentFile(1, name, _file_size(info[b"length"]))]
        found = []
        for index, entry in enumerate(info[b"files"], 1):
            if b"p" in entry.get(b"attr", b""):  # padding
                continue
            parts = [_path_part(part) for part in entry.get(b"path.utf-8", entry[b"path"])]
            found.append(TorrentFile(index, "/".join([name, *parts]), _file_size(entry[b"length"])))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise MagnetError("What the peers say about the torrent is damaged. Take another link.") from None


def _path_part(part: bytes) -> str:
    text = part.decode("utf-8", "replace")
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise ValueError
    return text


def _file_size(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 50:
        raise ValueError
    return value


def _decode_bencode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """A bencoded value at ``at``, and where it ends. Raises ValueError and IndexError."""
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at, at + 24)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        if depth > MAX_BENCODE_DEPTH:
            raise ValueError
        values = []
        at += 1
        while data[at] != ord("e"):
            value, at = _decode_bencode(data, at, depth + 1)
            values.append(value)
        return (dict(zip(values[::2], values[1::2])) if kind == b"d" else values), at + 1
    colon = data.index(b":", at, at + 12)
    length = int(data[at:colon])
    end = colon + 1 + length
    if length < 0 or end > len(data):
        raise ValueError
    return data[colon + 1 : end], end


def _fetch_metadata(link: str, parent: str | None) -> bytes:
    """The torrent that ``link`` means, as aria2 gets it from the peers. ``parent``: where its directory may lie for that long."""
    if parent:
        os.makedirs(parent, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".metadata-", dir=parent) as directory:
        options = ["--bt-metadata-only=true", "--bt-save-metadata=true", "--input-file=-"]
        # not in argv: trackers put keys into such links
        _run_aria2(options, link.encode() + b"\n", directory, lambda _count: None, METADATA_LIMIT)
        found = [name for name in os.listdir(directory) if name.endswith(".torrent")]
        if len(found) != 1:
            raise NoPeersError(f"aria2 did not find out what is in the torrent: {NO_PEERS}.")
        return read_regular(os.path.join(directory, found[0]), MAX_METADATA)


def _run_aria2(options: list[str], text: bytes, directory: str, report: Callable[[int], None], timeout: int) -> None:
    """Run aria2 in ``directory``. Raises MagnetError and NoPeersError."""
    argv = ["aria2c", "--dir", directory, "--seed-time=0", "--file-allocation=none", "--quiet=true", "--no-conf=true"]
    argv += [f"--bt-stop-timeout={timeout}", "--allow-overwrite=true", "--auto-file-renaming=false", *options]
    full = late = False
    deadline = time.monotonic() + timeout if "--bt-metadata-only=true" in options else None
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:  # type: ignore[union-attr]
            process.stdin.write(text)  # type: ignore[union-attr]
        while process.poll() is None:
            time.sleep(0.5)
            free = disk_space.free_bytes(directory)
            full = free is not None and free <= disk_space.DISK_RESERVE
            late = deadline is not None and time.monotonic() > deadline
            if full or late:
                break
            report(count_downloaded_bytes(directory))
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
            f"The disk of {os.path.dirname(directory)} has no more than the reserve of {disk_space.DISK_RESERVE >> 20} MiB left. aria2 was "
            "stopped and what had come was removed. Free space, or point the directory at a bigger disk."
        )
    if process.returncode != 0 or late:
        cause = NO_PEERS if late else ARIA2_EXIT_CAUSES.get(process.returncode, NO_PEERS)
        error = NoPeersError if cause is NO_PEERS else MagnetError
        raise error(
            f"aria2 could not download the torrent (exit status {process.returncode}): {cause.format(directory=directory)}."
        )


def _walk_files(directory: str) -> list[str]:
    paths = [os.path.join(root, name) for root, _dirs, names in os.walk(directory) for name in names]
    return [path for path in paths if not path.endswith((".aria2", ".torrent")) and not os.path.islink(path)]
