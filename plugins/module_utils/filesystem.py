# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files so that nobody ever sees half of one, and read them without trusting what lies at their path."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import threading
from typing import Any, Callable, Iterator

from .errors import DirectoryError, FileTypeError, SdopsError

CHUNK = 1 << 20
JSON_LIMIT = 64 << 20  # bytes of a JSON file; what we write ourselves is far smaller
FILE_TYPES = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_PROCESS_LOCKS: dict[str, threading.Lock] = {}  # threads of this process, where the file system has no locks


def describe_file_type(mode: int) -> str:
    """What ``st_mode`` says an entry is, in words; "" for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for test, words in FILE_TYPES if test(mode)), "something else than a file")


def reject_irregular(path: str, follow: bool = False) -> os.stat_result | None:
    """The status of the regular file at ``path``, None where there is nothing. Raises FileTypeError and OSError.

    Without ``follow`` a symbolic link is refused; with it, one that leads nowhere too, since a file would be written there.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if follow and stat.S_ISLNK(found.st_mode):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise FileTypeError(path, f"a symbolic link to {os.readlink(path)}, which does not exist,") from None
        except OSError as exc:
            if exc.errno != errno.ELOOP:
                raise
            raise FileTypeError(path, "a symbolic link that leads in a circle") from None
    what = describe_file_type(found.st_mode)
    if what:
        raise FileTypeError(path, what)
    return found


def open_regular(path: str, flags: int = os.O_RDONLY, mode: int = 0o644, follow: bool = False) -> int:
    """A file descriptor of the regular file at ``path``; never waits for a FIFO's other end and never opens a device for use.

    ``flags`` as for os.open. Without ``follow`` a symbolic link as the last component is refused. Raises FileTypeError,
    and OSError as os.open does.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, mode)
    except OSError as exc:
        # ENXIO: a socket, a device without a driver, or a FIFO that nobody reads
        if exc.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):
            reject_irregular(path, follow)
        raise
    what = describe_file_type(os.fstat(handle).st_mode)
    if what:
        os.close(handle)
        raise FileTypeError(path, what)
    return handle


def read_regular(path: str, limit: int | None = None, follow: bool = False) -> bytes:
    """The content of the regular file at ``path``. Raises FileTypeError, OSError, and ValueError beyond ``limit`` bytes."""
    with os.fdopen(open_regular(path, follow=follow), "rb") as stream:
        if limit is None:
            return stream.read()
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} has more than {limit} bytes")
    return data


def parse_json(text: str | bytes) -> Any:
    """json.loads for text that others wrote: whatever is wrong with it is a ValueError, also nesting too deep for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def load_json(path: str, limit: int = JSON_LIMIT, follow: bool = False) -> Any:
    """The value in a JSON file of ``limit`` bytes at most. Raises FileTypeError, OSError, and ValueError when it is damaged."""
    return parse_json(read_regular(path, limit, follow))


def write_atomic(
    path: str,
    data: bytes,
    mode: int = 0o644,
    durable: bool = True,
    prepare: Callable[[str], None] = lambda temporary: None,
) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync (unless not ``durable``), rename.

    ``prepare`` gets the path of the finished temporary file before the rename; what it raises leaves ``path`` as it is.
    A symbolic link is replaced and not followed. Raises OSError, and FileTypeError for a directory, a device or a FIFO.
    """
    directory = os.path.dirname(path)
    if not os.path.islink(path):
        reject_irregular(path)
    handle, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        prepare(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def is_private_directory(path: str) -> bool:
    """Whether ``path`` is a directory of this user's, in which nobody else can write; a symbolic link is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def read_tail(path: str, lines: int = 20, limit: int = 65536) -> str:
    """The last ``lines`` lines of a text file, reading at most ``limit`` bytes; "" when there is none."""
    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit))
            data = stream.read(limit)
    except (OSError, FileTypeError):
        return ""
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])


def sha256_of(path: str, seen: Callable[[int], None] = lambda count: None) -> str:
    """``seen`` is called with the bytes read so far."""
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
    renamed into place; what is temporary needs a name of its own then (see transfer.temp_names). A lock file is neither read nor written, so
    one of another user will do; a link, a FIFO or a device will not. Raises DirectoryError and FileTypeError.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = _open_lock(path)
    except OSError as exc:
        raise DirectoryError(
            f"{path} cannot be written: {exc.strerror}. Make it writable, or choose another place."
        ) from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as exc:
            if exc.errno not in NO_LOCKS:
                raise
            with _PROCESS_LOCKS.setdefault(os.path.abspath(path), threading.Lock()):
                yield False
            return
        yield True
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked_if_possible(path: str) -> Iterator[None]:
    """As ``locked``; where the lock file cannot be made nobody waits. For caches, which a run can do without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(SdopsError, OSError):
            stack.enter_context(locked(path))
        yield


def _open_lock(path: str) -> int:
    if os.path.isdir(path):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        # without O_CREAT first: with it, the kernel refuses files of others in directories that everybody may write
        return open_regular(path, os.O_RDWR)
    return open_regular(path, os.O_RDWR | os.O_CREAT)


def nearest_directory(path: str) -> str:
    """``path`` or the nearest directory above it that exists."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


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


def hard_link(source: str, temporary: str) -> bool:
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
    or the mode look like another user's, a file made next to it shows what our own look like: NFS may map root to another user, and some
    file systems show the same mode for everything.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if describe_file_type(found.st_mode) or (links is not None and found.st_nlink > links):
        return False
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid == os.geteuid() and not others:
        return True
    try:
        handle, probe = tempfile.mkstemp(prefix=".sdops-owner-", dir=os.path.dirname(path))
    except OSError:
        return False
    try:
        own = os.fstat(handle)
    finally:
        os.close(handle)
        os.unlink(probe)
    return found.st_uid == own.st_uid and not others & ~own.st_mode


def reject_unusable_directory(path: str) -> None:
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
    what = describe_file_type(os.lstat(path).st_mode) or "a file"
    raise DirectoryError(f"{path} is {what} where a directory is expected. Move it away, or choose another place.")


def reject_long_name(path: str) -> None:
    """Raise SdopsError when the file system does not take the last part of ``path``, which need not exist."""
    try:
        longest = os.pathconf(nearest_directory(os.path.dirname(path)), "PC_NAME_MAX")
    except (OSError, ValueError):  # it does not say
        return
    name = os.path.basename(path)
    length = len(os.fsencode(name))
    if length > longest:
        raise SdopsError(
            f"The file name {name} has {length} bytes, and the file system of {os.path.dirname(path)} takes {longest}. Set a shorter name."
        )


def reject_directory(path: str) -> None:
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
            reject_directory(path)
            raise
