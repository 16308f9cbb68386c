# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories, small files, blocks in files of others and links: what is there is compared, what differs is written."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import stat
from typing import Any, Callable, NamedTuple

from .errors import ArgumentError, SdopsError
from .filesystem import read_regular, reject_irregular, unlink_all, write_atomic
from .process import run

MODE_PATTERN = re.compile(r"0?[0-7]{3,4}\Z")
# options that belong to some states only
STATE_OPTIONS = {
    "content": ("file", "block"),
    "marker": ("block",),
    "target": ("link",),
    "validate": ("file", "block"),
    "backup": ("file", "block"),
    "brief_diff": ("file",),
    "mode": ("directory", "file", "block"),
    "create_mode": ("file", "block"),
}


class FileEntry(NamedTuple):
    """What shall lie at ``path``. Modes are numbers; None leaves the mode that is there.

    ``create_mode`` is that of a file which is made; one that is there keeps its own. ``content``: of the file, or of the block
    between the lines of ``marker``, in which ``{mark}`` becomes BEGIN and END; an empty block is removed. ``insert``: where a new block
    goes. ``brief_diff``: the diff tells the number of lines and not the content. ``target``: where a link leads to. ``validate``: a
    command with ``%s`` for the file before it gets its name.
    """

    path: str
    state: str
    content: str | None = None
    mode: int | None = None
    create_mode: int | None = None
    marker: str = ""
    insert: str = "end"
    target: str = ""
    validate: str = ""
    backup: bool = False
    brief_diff: bool = False


class EntryResult(NamedTuple):
    """What became of an entry, or would. ``actions`` is empty where nothing differed; ``diffs`` are Ansible's.

    ``checksum``: SHA-256 of the content that the file has afterwards, None where ``path`` is no file.
    """

    entry: FileEntry
    actions: list[str]
    diffs: list[dict[str, str]]
    checksum: str | None = None


def _parse_mode(path: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not MODE_PATTERN.match(value):
        raise ArgumentError(f'{path}: the mode {value!r} is no octal number. Write it as text, such as "0644".')
    return int(value, 8)


def parse_file_entry(given: dict[str, Any]) -> FileEntry:
    """Validate one entry of the module's ``entries``. Raises ArgumentError naming its path."""
    path, state = given["path"], given["state"]
    if not os.path.isabs(path):
        raise ArgumentError(f"{path!r} is no absolute path.")
    for option, states in STATE_OPTIONS.items():
        if given.get(option) and state not in states:
            raise ArgumentError(f"{path}: {option} belongs to the state {' or '.join(states)}, not to {state}.")
    for option, owner in (("marker", "block"), ("target", "link")):
        if state == owner and not given.get(option):
            raise ArgumentError(f"{path}: the state {state} needs {option}.")
    if state == "block" and (given.get("content") is None or "{mark}" not in given["marker"]):
        raise ArgumentError(f"{path}: a block needs content, and a marker with {{mark}} in it.")
    if given.get("validate") and "%s" not in given["validate"]:
        raise ArgumentError(f"{path}: validate needs %s, which stands for the file.")
    return FileEntry(
        path=os.path.normpath(path),
        state=state,
        content=given.get("content"),
        mode=_parse_mode(path, given.get("mode")),
        create_mode=_parse_mode(path, given.get("create_mode")),
        marker=given.get("marker") or "",
        insert=given.get("insert") or "end",
        target=given.get("target") or "",
        validate=given.get("validate") or "",
        backup=bool(given.get("backup")),
        brief_diff=bool(given.get("brief_diff")),
    )


def replace_block(before: bytes, block: bytes, marker: bytes, insert: str) -> bytes:
    """``before`` with ``block`` between its two lines of ``marker``; without both of them where the block is empty.

    A new block goes to the end, or with ``insert`` "start" before the first line, after it where that begins with ``#!``. As
    ansible.builtin.blockinfile, the last line before the block gets the line break that it lacks.
    """
    lines = before.splitlines(True)
    begin, end = (marker.replace(b"{mark}", mark) + b"\n" for mark in (b"BEGIN", b"END"))
    inserted = []
    if block:
        inserted = [begin, *(block if block.endswith(b"\n") else block + b"\n").splitlines(True), end]
    found = [max((i for i, line in enumerate(lines) if line == mark), default=-1) for mark in (begin, end)]
    if -1 not in found:
        position = min(found)
        del lines[position : max(found) + 1]
    elif insert == "start":
        position = 1 if before.startswith(b"#!") else 0
    else:
        position = len(lines)
    if position > 0 and not lines[position - 1].endswith(b"\n"):
        lines[position - 1] += b"\n"
    lines[position:position] = inserted
    return b"".join(lines)


def default_mode(kind: int) -> int:
    """The mode that a new file (``kind`` 0o666) or directory (0o777) gets from this process."""
    mask = os.umask(0)
    os.umask(mask)
    return kind & ~mask


class EntryWriter:
    """Applies entries in their order. With ``check`` nothing is written.

    ``back_up``: copies a file away before it is replaced.
    """

    def __init__(self, check: bool = False, back_up: Callable[[str], object] = lambda path: None) -> None:
        self.check = check
        self.back_up = back_up

    def apply(self, entry: FileEntry) -> EntryResult:
        """Raises SdopsError and OSError; what earlier entries did stays."""
        handlers = {
            "directory": self._directory,
            "file": self._file,
            "block": self._file,
            "link": self._link,
            "absent": self._absent,
        }
        return handlers[entry.state](entry)

    def _set_mode(self, path: str, mode: int | None) -> tuple[list[str], list[dict[str, str]]]:
        """Give what is at ``path`` its mode, where it differs."""
        present = stat.S_IMODE(os.stat(path).st_mode)
        if mode is None or present == mode:
            return [], []
        if not self.check:
            os.chmod(path, mode)
        header = f"{path} (file attributes)"
        before, after = (f"mode {value:04o}\n" for value in (present, mode))
        diff = {"before_header": header, "after_header": header, "before": before, "after": after}
        return [f"set the mode of {path} to {mode:04o}"], [diff]

    def _directory(self, entry: FileEntry) -> EntryResult:
        path = entry.path
        if os.path.isdir(path):
            return EntryResult(entry, *self._set_mode(path, entry.mode))
        if os.path.lexists(path):
            raise SdopsError(f"{path} is there and is no directory. Move it away, then run again.")
        if not self.check:
            missing = [path]
            while not os.path.lexists(os.path.dirname(missing[-1])):
                missing.append(os.path.dirname(missing[-1]))
            for each in reversed(missing):
                os.mkdir(each)
                if entry.mode is not None:
                    os.chmod(each, entry.mode)
        return EntryResult(entry, [f"create the directory {path}"], [self._diff(path, "absent\n", "directory\n")])

    @staticmethod
    def _diff(path: str, before: str, after: str) -> dict[str, str]:
        return {"before_header": path, "after_header": path, "before": before, "after": after}

    def _file(self, entry: FileEntry) -> EntryResult:
        # a block is written into the file that a link leads to: the file is somebody else's
        path = os.path.realpath(entry.path) if entry.state == "block" else entry.path
        is_link = os.path.islink(path)
        found = None if is_link else reject_irregular(path)
        before = read_regular(path) if found else b""
        if entry.content is None:
            if not found and not self.check:
                raise SdopsError(f"{path} is not there, and its entry has no content to make it from.")
            actions, diffs = self._set_mode(path, entry.mode) if found else ([], [])
            return EntryResult(entry, actions, diffs, hashlib.sha256(before).hexdigest() if found else None)
        data = entry.content.encode("utf-8", "surrogateescape")
        if entry.state == "block":
            if not found and not data:
                return EntryResult(entry, [], [])
            data = replace_block(before, data, entry.marker.encode(), entry.insert)
        checksum = hashlib.sha256(data).hexdigest()
        if found and data == before:
            return EntryResult(entry, *self._set_mode(path, entry.mode), checksum)
        actions = ["{} {}".format("change" if found else "create", path)]
        texts = [each.decode("utf-8", "replace") for each in (before, data)]
        if entry.brief_diff:
            texts = [f"{len(text.splitlines())} lines\n" if text else "" for text in texts]
        diffs = [self._diff(entry.path, *texts)]
        if found and entry.mode is not None:
            more = EntryWriter(check=True)._set_mode(path, entry.mode)
            actions, diffs = actions + more[0], diffs + more[1]
        if not self.check:
            self._write(entry, path, data, found)
        return EntryResult(entry, actions, diffs, checksum)

    def _write(self, entry: FileEntry, path: str, data: bytes, found: os.stat_result | None) -> None:
        directory = os.path.dirname(path)
        if entry.state == "block":
            os.makedirs(directory, exist_ok=True)
        elif not os.path.isdir(directory):
            raise SdopsError(
                f"There is no directory {directory} for {path}. Give it an entry of its own, before this one."
            )

        def prepare(temporary: str) -> None:
            if found and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, found.st_uid, found.st_gid)
                os.chmod(temporary, mode)  # which chown may have reduced
            if entry.validate:
                command = [part.replace("%s", temporary) for part in shlex.split(entry.validate)]
                done = run(command)
                if done.rc:
                    raise SdopsError(
                        f"{path} is left as it was, since {command[0]} rejects its new content (exit status {done.rc}):",
                        done.out + done.err,
                    )

        if found:
            mode = stat.S_IMODE(found.st_mode) if entry.mode is None else entry.mode
            if entry.backup:
                self.back_up(path)
        else:
            given = entry.create_mode if entry.mode is None else entry.mode
            mode = default_mode(0o666) if given is None else given
        write_atomic(path, data, mode, prepare=prepare)

    def _link(self, entry: FileEntry) -> EntryResult:
        path = entry.path
        before = os.readlink(path) if os.path.islink(path) else ""
        if not before and os.path.lexists(path):
            raise SdopsError(f"{path} is there and is no symbolic link. Move it away, then run again.")
        if before == entry.target:
            return EntryResult(entry, [], [])
        if not self.check:
            # under a name beside it first: nobody finds it missing
            temporary = f"{path}.sdops-link"
            unlink_all([temporary])
            os.symlink(entry.target, temporary)
            os.replace(temporary, path)
        diff = self._diff(path, f"link to {before}\n" if before else "absent\n", f"link to {entry.target}\n")
        return EntryResult(entry, [f"link {path} to {entry.target}"], [diff])

    def _absent(self, entry: FileEntry) -> EntryResult:
        path = entry.path
        if not os.path.lexists(path):
            return EntryResult(entry, [], [])
        is_directory = os.path.isdir(path) and not os.path.islink(path)
        if not self.check:
            if is_directory:
                shutil.rmtree(path)
            else:
                os.unlink(path)
        diff = self._diff(path, "directory\n" if is_directory else "file\n", "absent\n")
        return EntryResult(entry, [f"remove {path}"], [diff])
