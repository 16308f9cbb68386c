# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files so that nobody ever sees half of one, and read them without trusting what lies at their path."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from typing import Any

from .errors import SdopsError

JSON_LIMIT = 64 << 20  # bytes of a JSON file; what we write ourselves is far smaller
FILE_TYPES = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class FileTypeError(SdopsError):
    """Something else lies where a regular file belongs. ``path`` is where."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            f"{path} is {what} where a regular file is expected; nothing was read from it or written to it. Remove it or move it "
            "away, then run again."
        )
        self.path = path


def file_type(mode: int) -> str:
    """What ``st_mode`` says an entry is, in words; "" for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for test, words in FILE_TYPES if test(mode)), "something else than a file")


def refuse_irregular(path: str, follow: bool = False) -> os.stat_result | None:
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
    what = file_type(found.st_mode)
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
            refuse_irregular(path, follow)
        raise
    what = file_type(os.fstat(handle).st_mode)
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
        raise ValueError("%s has more than %d bytes" % (path, limit))
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


def write_atomic(path: str, data: bytes, mode: int = 0o644, durable: bool = True) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync (unless not ``durable``), rename.

    A symbolic link is replaced and not followed. Raises OSError, and FileTypeError for a directory, a device or a FIFO.
    """
    directory = os.path.dirname(path)
    if not os.path.islink(path):
        refuse_irregular(path)
    handle, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def tail(path: str, lines: int = 20, limit: int = 65536) -> str:
    """The last ``lines`` lines of a text file, reading at most ``limit`` bytes; "" when there is none."""
    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit))
            data = stream.read(limit)
    except (OSError, FileTypeError):
        return ""
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])
