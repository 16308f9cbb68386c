# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of directory trees and files, restored after a change that went wrong.

Big files are hard links: the libraries of torch take no time and no space. That is safe for what pip, uv and conda do,
because they replace files and do not write into them. An installer of somebody else may write into one. So small files, which are
all code and all records of what is installed, become two: the snapshot has the file itself, which uv's cache may share, and the
tree a copy of it. Of those that stay linked it is noted what they were like.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from typing import Any

from .errors import SnapshotError
from .filesystem import load_json, read_regular, write_atomic

MANIFEST = "manifest.json"
SMALL_FILE = 1 << 20  # bytes
PARTIAL_SUFFIX = ".sdops-copy"
# of these there are many, and Python recreates them or never reads them: they are linked too
LINKED_SUFFIXES = (".pyc", ".h", ".hpp", ".cuh", ".pyi")


def _snapshot_tree(tree: str, saved: str, former: str) -> dict[str, list[int]]:
    """Make ``manifest`` like ``tree``; gives ``{path below it: [size, time of change in ns]}`` of files that both share.

    Copies in ``former``, an earlier snapshot, are taken over where the file has not changed since.
    """
    shared: dict[str, list[int]] = {}
    for directory, directories, files in os.walk(tree):
        below = os.path.relpath(directory, tree)
        target = os.path.normpath(os.path.join(saved, below))
        os.mkdir(target)
        for name in [*files, *(d for d in directories if os.path.islink(os.path.join(directory, d)))]:
            source, copy, path = os.path.join(directory, name), os.path.join(target, name), os.path.join(below, name)
            if name.endswith(PARTIAL_SUFFIX):  # of a cut run
                os.unlink(source)
                continue
            found = os.lstat(source)
            if not stat.S_ISREG(found.st_mode):
                shutil.copy2(source, copy, follow_symlinks=False)
            elif (found.st_size >= SMALL_FILE or name.endswith(LINKED_SUFFIXES)) and _try_hardlink(source, copy):
                shared[path] = [found.st_size, found.st_mtime_ns]
            elif _is_unchanged(os.path.join(former, path), found) and _try_hardlink(os.path.join(former, path), copy):
                continue
            elif _try_hardlink(source, copy):
                _copy(source, source + PARTIAL_SUFFIX, found)
                os.replace(source + PARTIAL_SUFFIX, source)
            else:
                _copy(source, copy, found)
    for directory, _directories, _files in os.walk(tree):
        shutil.copystat(directory, os.path.normpath(os.path.join(saved, os.path.relpath(directory, tree))))
    return shared


def _try_hardlink(source: str, copy: str) -> bool:
    try:
        os.link(source, copy, follow_symlinks=False)
    except OSError:  # a file system without hard links
        return False
    return True


def _is_unchanged(path: str, expected: os.stat_result) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return all(
        getattr(found, k) == getattr(expected, k) for k in ("st_mode", "st_size", "st_mtime_ns", "st_uid", "st_gid")
    )


def _copy(source: str, copy: str, found: os.stat_result) -> None:
    """What shutil.copy2 does, in half of the time: there are tens of thousands of them."""
    with open(source, "rb", buffering=0) as reader, open(copy, "xb", buffering=0) as writer:
        while True:
            block = reader.read(SMALL_FILE)
            if not block:
                break
            writer.write(block)
        if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):
                os.chown(writer.fileno(), found.st_uid, found.st_gid)
        os.chmod(writer.fileno(), stat.S_IMODE(found.st_mode))
        os.utime(writer.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))


def _find_modified(tree: str, shared: dict[str, list[int]]) -> list[str]:
    """Which of the shared files are not what they were."""
    changed = []
    for name, was in shared.items():
        try:
            found = os.lstat(os.path.join(tree, name))
        except OSError:
            changed.append(name)
            continue
        if [found.st_size, found.st_mtime_ns] != was:
            changed.append(name)
    return sorted(changed)


class Snapshot:
    """A snapshot in the directory ``store``, which lies on the disk of the trees, so that restoring is a rename."""

    def __init__(self, store: str) -> None:
        self.store = store

    def manifest(self) -> dict[str, Any] | None:
        """``{"trees": [...], "files": [...], "missing": [...], "shared": [...]}`` of a complete snapshot, else None."""
        try:
            found: dict[str, Any] = load_json(os.path.join(self.store, MANIFEST))
            return found if isinstance(found, dict) else None
        except (OSError, ValueError):
            return None

    def create(self, trees: list[str], files: list[str]) -> None:
        """Make the snapshot. Interrupted, it counts as none and is made again."""
        trees = [os.path.realpath(tree) for tree in trees]
        not_directories = [tree for tree in trees if not os.path.isdir(tree)]
        if not_directories:
            raise SnapshotError(
                "{} cannot be saved in a snapshot: it is no directory.".format(", ".join(not_directories))
            )
        self._discard(self.store + ".new")
        new = self.store + ".new"
        try:
            os.makedirs(new, mode=0o700)
            shared = []
            for number, tree in enumerate(trees):
                name = f"tree-{number}"
                shared.append(_snapshot_tree(tree, os.path.join(new, name), os.path.join(self.store, name)))
            present = [path for path in files if os.path.isfile(path)]
            for number, path in enumerate(present):
                shutil.copy2(path, os.path.join(new, f"file-{number}"))
        except (OSError, shutil.Error) as exc:
            self._discard(new)
            raise SnapshotError("{} cannot be saved in {}: {}.".format(", ".join(trees), self.store, exc)) from exc
        missing = [path for path in files if path not in present]
        manifest = {"trees": trees, "files": present, "missing": missing, "shared": shared}
        write_atomic(os.path.join(new, MANIFEST), json.dumps(manifest).encode())
        self._discard(self.store)
        os.rename(new, self.store)

    def restore(self) -> dict[str, Any]:
        """Restore everything and delete the snapshot. When interrupted, the next call resumes.

        Raises SnapshotError, after all is in its place, naming big files that somebody has written into: those are not what
        they were.
        """
        manifest = self.manifest()
        if manifest is None:
            raise SnapshotError(f"There is no snapshot in {self.store} to restore.")
        for number, tree in enumerate(manifest["trees"]):
            saved, failed = os.path.join(self.store, f"tree-{number}"), os.path.join(self.store, f"failed-{number}")
            if os.path.isdir(saved):  # else it was restored before an interruption
                if os.path.isdir(tree):
                    self._discard(failed)
                    shutil.move(tree, failed)
                shutil.move(saved, tree)
        for number, path in enumerate(manifest["files"]):
            saved = os.path.join(self.store, f"file-{number}")
            write_atomic(path, read_regular(saved), os.stat(saved).st_mode & 0o7777)
        for path in manifest["missing"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        written = [
            os.path.join(tree, name)
            for tree, shared in zip(manifest["trees"], manifest.get("shared", []))
            for name in _find_modified(tree, shared)
        ]
        self.delete()
        if written:
            raise SnapshotError(
                "Everything was restored, but {} was written into and not replaced, so it is not what it was. Install the "
                "package that it belongs to again.".format(", ".join(written[:5]))
            )
        return manifest

    def mark_obsolete(self) -> None:
        """What was kept is not needed any more. Its copies stay until ``delete``, for the next snapshot to take over."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.store, MANIFEST))

    def delete(self) -> None:
        """Remove the snapshot; the manifest first, so that half of one is never taken for a whole."""
        self.mark_obsolete()
        self._discard(self.store)
        self._discard(self.store + ".new")

    @staticmethod
    def _discard(path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
