# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fetch_files: files from a target to the controller, which never believes the target."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fnmatch
import os
import shlex
import tempfile
from typing import Any, Iterator, NamedTuple

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils.errors import FetchError, SdopsError, UntrustedPathError
from ..plugin_utils.controller_paths import (
    check_local_path,
    check_relative_path,
    quote_path,
    reject_variables_among_facts,
)

READ_SIZE = 4 * 1024 * 1024  # bytes that one command on the target returns
MAX_GROWTH = 16 * 1024 * 1024  # bytes that a file may have grown since it was listed
CONTROLLER_DISK_RESERVE = 256 * 1024 * 1024  # bytes that stay free on the controller's disk
LIMIT_ARGUMENTS = {
    "private": {"type": "bool", "default": False},
    "max_bytes": {"type": "int", "default": 4 * 1024**3},
}
FILE_ARGUMENTS = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "path", "required": True},
    **LIMIT_ARGUMENTS,
}
MAX_LISTED_PROBLEMS = 10  # entries of a message
# between marks: what a login script prints is not part of the file
READ_COMMAND = (
    "test -f {path} && echo sdops-begin && tail -c +{first} -- {path} | head -c {count} | base64 && echo sdops-end"
)


class FetchedFile(NamedTuple):
    """A file on the target, and where it belongs: ``label`` is its name in results, ``size`` is None when nobody asked.

    ``limit``: size that it may not exceed, in bytes.
    """

    path: str
    dest: str
    label: str
    size: int | None
    private: bool
    limit: int


class ActionModule(ActionBase):
    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        unused, args = self.validate_argument_spec(
            argument_spec={
                "files": {"type": "list", "elements": "dict", "options": FILE_ARGUMENTS},
                "src": {"type": "str"},
                "dest": {"type": "path"},
                "patterns": {"type": "list", "elements": "str"},
                **LIMIT_ARGUMENTS,
            },
            mutually_exclusive=[("files", "src"), ("files", "patterns")],
            required_one_of=[("files", "src")],
            required_together=[("src", "dest")],
        )
        host = str(task_vars.get("inventory_hostname", "?"))
        try:
            reject_variables_among_facts(task_vars)
            if args["patterns"] is None:
                files, root = self._single_files([args] if args["files"] is None else args["files"])
                result.update(self._fetch(files, root, []))
            else:
                root = self._local(args["dest"])
                files, rejected = self._list(args, root, task_vars)
                result.update(self._fetch(files, root, rejected))
                result["matched"] = len(files)
        except UntrustedPathError as exc:
            raise AnsibleActionFail(_warning(host, [str(exc)])) from None
        except SdopsError as exc:
            raise AnsibleActionFail(f"{host}: {exc}") from None
        if result.pop("rejected"):
            result.update(failed=True, msg=_warning(host, result["skipped_files"]))
        return result

    def _local(self, path: str) -> str:
        return os.path.abspath(self._loader.path_dwim(path))

    def _single_files(self, entries: list[dict[str, Any]]) -> tuple[list[FetchedFile], str]:
        """The files that the task names, and the directory on the controller that all of them belong below."""
        dests = [self._local(entry["dest"]) for entry in entries]
        root = os.path.commonpath([os.path.dirname(dest) for dest in dests] or ["/"])
        files = []
        for entry, dest in zip(entries, dests):
            src, label = self._remote_expand_user(entry["src"]), os.path.relpath(dest, root)
            files.append(FetchedFile(src, dest, label, None, entry["private"], entry["max_bytes"]))
        return files, root

    def _list(self, args: dict[str, Any], dest: str, task_vars: dict[str, Any]) -> Any:
        """The files below ``src`` that may be fetched to below ``dest``, and sentences for those that must not."""
        src = self._remote_expand_user(args["src"]).rstrip("/")
        patterns, private, limit = args["patterns"], args["private"], args["max_bytes"]
        found = self._execute_module(
            module_name="ansible.builtin.find",
            module_args={"paths": [src], "patterns": patterns, "recurse": True},
            task_vars=task_vars,
        )
        if found.get("failed"):
            raise FetchError(
                "the files below {} cannot be listed: {}".format(
                    src, quote_path(found.get("msg", "no reason was given"))
                )
            )
        entries = found.get("files")
        files, rejected = [], []
        for entry in entries if isinstance(entries, list) else [entries]:
            try:
                path, size = (entry.get("path"), entry.get("size")) if isinstance(entry, dict) else (entry, None)
                relative = check_relative_path(src, path)
                if not any(fnmatch.fnmatchcase(os.path.basename(relative), pattern) for pattern in patterns):
                    raise UntrustedPathError(f"{quote_path(path)} has a name that was not asked for")
                if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                    raise UntrustedPathError(f"{quote_path(path)} has no size that could be true")
                if size > limit:
                    raise UntrustedPathError(
                        f"{quote_path(path)} has {size} bytes, more than max_bytes allows ({limit})"
                    )
                local = check_local_path(dest, relative)
                files.append(FetchedFile(str(path), local, relative, size, private, limit))
            except UntrustedPathError as exc:
                rejected.append(str(exc))
        return files, rejected

    def _fetch(self, files: list[FetchedFile], root: str, rejected: list[str]) -> dict[str, Any]:
        """Fetch what is not here in the same size; a run that was interrupted is resumed like this."""
        check = self._task.check_mode
        missing = [f for f in files if f.size is None or not _is_here(f)]
        needed = sum(f.size or 0 for f in missing)
        if needed:
            _require_space(root, needed)
        fetched = []
        for file in missing:
            if check and file.size is not None or self._fetch_one(file):
                fetched.append(file.label)
        return {
            "changed": bool(fetched),
            "files": fetched,
            "dest": root,
            "skipped_files": rejected,
            "rejected": bool(rejected),
            "diff": {"before": "", "after": "".join(label + "\n" for label in fetched), "after_header": root},
        }

    def _fetch_one(self, file: FetchedFile) -> bool:
        """Bring one file; whether that changed something. It appears under its name when it is whole."""
        limit = file.limit if file.size is None else min(file.limit, file.size + MAX_GROWTH)
        directory = os.path.dirname(file.dest)
        with tempfile.TemporaryFile() as content:
            for block in self._read_blocks(file, limit):
                content.write(block)
            content.seek(0)
            same = _same_content(file.dest, content)
            private = not file.private or (same and _is_private(directory) and _is_private(file.dest))
            if self._task.check_mode or (same and private):
                return not (same and private)
            try:
                os.makedirs(directory, mode=0o700 if file.private else 0o777, exist_ok=True)
                if file.private:
                    os.chmod(directory, 0o700)
                content.seek(0)
                _replace(file.dest, content, file.private)
            except OSError as exc:
                raise FetchError(
                    f"{file.dest} cannot be written on the controller: {exc.strerror or exc}. Free space for it, or choose another directory."
                ) from exc
        return True

    def _read_blocks(self, file: FetchedFile, limit: int) -> Iterator[bytes]:
        done = 0
        while True:
            command = READ_COMMAND.format(path=shlex.quote(file.path), first=done + 1, count=READ_SIZE)
            with self._quiet():
                answer = self._low_level_execute_command(command)
            text = str(answer.get("stdout", ""))
            unused, begin, rest = text.partition("sdops-begin")
            body, end, unused = rest.partition("sdops-end")
            if answer.get("rc") != 0 or not begin or not end:
                raise FetchError(
                    f"{quote_path(file.path)} cannot be read on the host: it is not there, is not a plain file, or must not be read by this user."
                )
            try:
                block = base64.b64decode("".join(body.split()), validate=True)
            except (binascii.Error, ValueError) as exc:
                raise FetchError(f"{quote_path(file.path)} came damaged from the host. Run this again.") from exc
            done += len(block)
            if len(block) > READ_SIZE or done > limit:
                raise FetchError(
                    f"{quote_path(file.path)} is larger than it should be ({limit} bytes at most); nothing of it was kept. If it is still being "
                    "written, run this again later."
                )
            yield block
            if len(block) < READ_SIZE:
                return

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Connections show what a command prints at -vvv: that would be the file, which may hold a password."""
        context = self._connection._play_context
        before, context.no_log = context.no_log, True
        try:
            yield
        finally:
            context.no_log = before


def _warning(host: str, reasons: list[str]) -> str:
    more = len(reasons) - MAX_LISTED_PROBLEMS
    return (
        "{}: not everything was fetched, because the answers of this host cannot be trusted: {}{}. Nothing was written outside of "
        "the directory for its files. Rename a file of your own that is among them; if you know of none, take the host for "
        "compromised.".format(host, "; ".join(reasons[:MAX_LISTED_PROBLEMS]), f"; and {more} more" if more > 0 else "")
    )


def _is_here(file: FetchedFile) -> bool:
    with contextlib.suppress(OSError):
        return os.path.isfile(file.dest) and os.path.getsize(file.dest) == file.size
    return False


def _is_private(path: str) -> bool:
    return os.stat(path).st_mode & 0o077 == 0


def _same_content(path: str, content: Any) -> bool:
    if not os.path.isfile(path) or os.path.islink(path):
        return False
    with open(path, "rb") as handle:
        while True:
            local, remote = handle.read(READ_SIZE), content.read(READ_SIZE)
            if local != remote:
                return False
            if not local:
                return True


def _require_space(root: str, needed: int) -> None:
    """Raises FetchError when the controller's disk cannot take ``needed`` bytes."""
    place = root
    while not os.path.exists(place):
        place = os.path.dirname(place)
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and needed + CONTROLLER_DISK_RESERVE > free:
        raise FetchError(
            f"the files have {needed >> 20} MiB, but {place} on the controller has {free >> 20} MiB free. Free space there, or set another "
            "directory."
        )


def _replace(dest: str, content: Any, private: bool) -> None:
    """Write ``content`` (an open file) to ``dest`` in one step; a link that stands there is replaced, not followed."""
    handle, path = tempfile.mkstemp(prefix=".sdops-", dir=os.path.dirname(dest))
    try:
        with os.fdopen(handle, "wb") as new:
            while True:
                block = content.read(READ_SIZE)
                if not block:
                    break
                new.write(block)
            new.flush()
            os.fsync(new.fileno())
        if not private:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(path, 0o666 & ~mask)
        os.replace(path, dest)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
