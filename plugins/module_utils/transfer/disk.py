# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks, room, hashes and copies: what the transfer needs of the file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
from typing import Callable, Iterable, Iterator

from ..errors import SdopsError
from ..files import FileTypeError, file_type, open_regular
from .http import TransferError

CHUNK = 1 << 20
RESERVE = 64 << 20  # what is left free for everybody else
LONGEST_BASE = 180  # bytes of a name that others are made from, as .NAME.part.journal; file systems take 255
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_HERE: dict[str, threading.Lock] = {}  # threads of this process, where the file system has no locks


class DirectoryError(SdopsError):
    """A directory that is needed is not there and cannot be made."""


def sha256_of(path: str, seen: Callable[[int], None] = lambda count: None) -> str:
    """``seen`` is told the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with os.fdopen(open_regular(path, follow=True), "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            digest.update(chunk)
            done += len(chunk)
            seen(done)
    return digest.hexdigest()


def git_sha1_of(path: str) -> str:
    """Git's blob id: sha1 over "blob SIZE\\0" and the content."""
    with os.fdopen(open_regular(path, follow=True), "rb") as handle:
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(handle.fileno()).st_size)
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: str) -> Iterator[bool]:
    """Hold an exclusive lock on ``path`` (a directory, or a file, made if absent); two runs wait for each other.

    Some network file systems have no locks: there we go on without, and the value is False. Every file is verified and
    renamed into place; what is temporary needs a name of its own then (see own_name). A lock file is neither read nor written, so
    one of another user will do; a link, a FIFO or a device will not. Raises TransferError and FileTypeError.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = _open_lock(path)
    except OSError as exc:
        raise TransferError(
            f"{path} cannot be written: {exc.strerror}. Make it writable, or choose another place."
        ) from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as exc:
            if exc.errno not in NO_LOCKS:
                raise
            with _HERE.setdefault(os.path.abspath(path), threading.Lock()):
                yield False
            return
        yield True
    finally:
        os.close(handle)


def _open_lock(path: str) -> int:
    if os.path.isdir(path):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        # without O_CREAT first: with it, the kernel refuses files of others in directories that everybody may write
        return open_regular(path, os.O_RDWR)
    return open_regular(path, os.O_RDWR | os.O_CREAT)


def short_name(name: str, longest: int = LONGEST_BASE) -> str:
    """``name`` as a base for longer names: one of more than ``longest`` bytes becomes its beginning and a hash of it."""
    raw = os.fsencode(name)
    if len(raw) <= longest:
        return name
    return "{}-{}".format(raw[:60].decode("utf-8", "ignore"), hashlib.sha256(raw).hexdigest()[:16])


def own_name(dest: str, held: bool) -> str:
    """``dest`` as a base for temporary names: itself under a lock, else with host and process in it."""
    if held:
        return dest
    head, name = os.path.split(dest)
    return os.path.join(head, "%s.%s-%d" % (_base(name), _host(), os.getpid()))


def _base(name: str) -> str:
    """Short enough for host and process behind it."""
    return short_name(name, LONGEST_BASE - 40)


def left_names(dest: str) -> list[str]:
    """The same of processes of this host that are no more."""
    head, name = os.path.split(dest)
    pattern = re.compile(rf"\.({re.escape(_base(name))}\.{re.escape(_host())}-([0-9]+))\.")
    found = [pattern.match(entry) for entry in (os.listdir(head) if os.path.isdir(head) else [])]
    return sorted({os.path.join(head, m.group(1)) for m in found if m and not os.path.exists("/proc/" + m.group(2))})


def _host() -> str:
    return re.sub("[^A-Za-z0-9]", "_", socket.gethostname())[:24]


def existing(path: str) -> str:
    """``path`` or the nearest directory above it that exists."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int | None:
    """Bytes that may be written on the disk of ``path``; None where the file system does not tell (some network ones say 0 of 0)."""
    try:
        usage = shutil.disk_usage(existing(path))
    except OSError:
        return None
    return usage.free if usage.total else None


def check_space(needs: Iterable[tuple[str, int]]) -> None:
    """``needs`` are (directory, bytes) of everything that is to come; raises TransferError when a disk is too small."""
    disks: dict[int, tuple[str, int]] = {}
    for directory, needed in needs:
        there = existing(directory)
        device = os.stat(there).st_dev
        disks[device] = (there, disks.get(device, ("", 0))[1] + max(needed, 0))
    for there, needed in disks.values():
        free = free_bytes(there)
        if free is not None and needed and needed + RESERVE > free:
            raise TransferError(
                f"The disk of {there} has {free / 2**30:.2f} GiB free, but {(needed + RESERVE) / 2**30:.2f} GiB are needed. Make room, or point the directories at a "
                "bigger disk."
            )


def sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(temporary: str, dest: str) -> None:
    """Give a finished file its name: all of it on disk first, then the rename, then the directory."""
    handle = open_regular(temporary)
    try:
        os.fsync(handle)
        os.fchmod(handle, 0o644)
    finally:
        os.close(handle)
    os.replace(temporary, dest)
    sync_directory(os.path.dirname(dest))


def copy_hashed(source: str, temporary: str, seen: Callable[[int], None] = lambda count: None) -> str:
    """Copy ``source`` to ``temporary``, over what a killed run left there; its SHA-256. The caller publishes or unlinks it.

    Raises OSError, and FileTypeError when ``source`` is no regular file.
    """
    unlink_all([temporary])
    digest = hashlib.sha256()
    done = 0
    try:
        with os.fdopen(open_regular(source, follow=True), "rb") as there, open(temporary, "xb") as here:
            for chunk in iter(lambda: there.read(CHUNK), b""):
                here.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                seen(done)
    except BaseException:
        unlink_all([temporary])
        raise
    return digest.hexdigest()


def link_to(source: str, temporary: str) -> bool:
    """Make ``temporary`` a second name for ``source``; False where the file system has none to give."""
    unlink_all([temporary])
    try:
        os.link(source, temporary, follow_symlinks=False)
    except OSError:
        return False
    return True


def is_private(path: str, links: int | None = 1) -> bool:
    """Whether the regular file at ``path`` is ours, and no other user of this host may write it.

    ``links``: how many names it may have (None: any number); another name may be somebody's way to write it. Where the owner
    or the mode look foreign, a file made beside it tells what ours look like: NFS may map root to another user, and some
    file systems show the same mode for everything.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if file_type(found.st_mode) or (links is not None and found.st_nlink > links):
        return False
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid == os.geteuid() and not others:
        return True
    try:
        handle, probe = tempfile.mkstemp(prefix=".sdops-owner-", dir=os.path.dirname(path))
    except OSError:
        return False
    try:
        ours = os.fstat(handle)
    finally:
        os.close(handle)
        os.unlink(probe)
    return found.st_uid == ours.st_uid and not others & ~ours.st_mode


def refuse_unusable_directory(path: str) -> None:
    """Raise DirectoryError when the directory ``path`` is not there and cannot be made, since something else is in its way."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if os.path.isdir(path):
        return
    if os.path.islink(path):
        raise DirectoryError(
            f"{path} is a symbolic link to {os.readlink(path)}, which cannot be reached. Mount the disk that it leads to, or remove the link."
        )
    what = file_type(os.lstat(path).st_mode) or "a file"
    raise DirectoryError(f"{path} is {what} where a directory is expected. Move it away, or choose another place.")


def refuse_long_name(path: str) -> None:
    """Raise SdopsError when the file system does not take the last part of ``path``, which need not exist."""
    try:
        longest = os.pathconf(existing(os.path.dirname(path)), "PC_NAME_MAX")
    except (OSError, ValueError):  # it does not say
        return
    name = os.path.basename(path)
    length = len(os.fsencode(name))
    if length > longest:
        raise SdopsError(
            "The file name %s has %d bytes, and the file system of %s takes %d. Set a shorter name."
            % (name, length, os.path.dirname(path), longest)
        )


def refuse_directory(path: str) -> None:
    """Raise FileTypeError when a directory lies where only files of ours do; it may be full, so it is not removed."""
    if os.path.isdir(path) and not os.path.islink(path):
        raise FileTypeError(path, "a directory")


def unlink_all(paths: list[str]) -> None:
    """Remove files, links, FIFOs and the like, if they are there. Raises OSError, and FileTypeError for a directory."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            refuse_directory(path)
            raise
