# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a directory tree and some files as they are, and put them back after a change that went wrong.

Trees are copied by hard links: an environment with torch in it takes seconds and no space. That is safe for what pip, uv
and conda do, because they replace files and do not write into them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import Dict, List, Optional

from .errors import SdopsError
from .files import write_atomic

MANIFEST = "manifest.json"


class SnapshotError(SdopsError):
    """What was to be kept or put back is not there, or the disks do not allow it."""


def _copy_link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target, follow_symlinks=False)
    return target


class Snapshot:
    """A snapshot in the directory ``store``, which lies on the disk of the trees, so that putting back is a rename."""

    def __init__(self, store: str) -> None:
        self.store = store

    def kept(self) -> Optional[Dict[str, List[str]]]:
        """``{"trees": [...], "files": [...], "missing": [...]}`` of a complete snapshot, else None."""
        try:
            with open(os.path.join(self.store, MANIFEST), encoding="utf-8") as handle:
                found: Dict[str, List[str]] = json.load(handle)
                return found
        except (OSError, ValueError):
            return None

    def keep(self, trees: List[str], files: List[str]) -> None:
        """Make the snapshot. Cut in the middle, it counts as none and is made again."""
        trees = [os.path.realpath(tree) for tree in trees]
        gone = [tree for tree in trees if not os.path.isdir(tree)]
        if gone:
            raise SnapshotError("%s cannot be kept: it is no directory." % ", ".join(gone))
        self._discard(self.store + ".new")
        new = self.store + ".new"
        try:
            os.makedirs(new, mode=0o700)
            for number, tree in enumerate(trees):
                shutil.copytree(tree, os.path.join(new, "tree-%d" % number), symlinks=True, copy_function=_copy_link)
            present = [path for path in files if os.path.isfile(path)]
            for number, path in enumerate(present):
                shutil.copy2(path, os.path.join(new, "file-%d" % number))
        except (OSError, shutil.Error) as exc:
            self._discard(new)
            raise SnapshotError("%s cannot be kept in %s: %s." % (", ".join(trees), self.store, exc)) from exc
        manifest = {"trees": trees, "files": present, "missing": [path for path in files if path not in present]}
        write_atomic(os.path.join(new, MANIFEST), json.dumps(manifest).encode())
        self._discard(self.store)
        os.rename(new, self.store)

    def restore(self) -> Dict[str, List[str]]:
        """Put everything back and forget the snapshot. Cut in the middle, it goes on where it was."""
        manifest = self.kept()
        if manifest is None:
            raise SnapshotError("There is no snapshot in %s to go back to." % self.store)
        for number, tree in enumerate(manifest["trees"]):
            kept, failed = os.path.join(self.store, "tree-%d" % number), os.path.join(self.store, "failed-%d" % number)
            if os.path.isdir(kept):  # else it was put back before a cut
                if os.path.isdir(tree):
                    self._discard(failed)
                    shutil.move(tree, failed)
                shutil.move(kept, tree)
        for number, path in enumerate(manifest["files"]):
            kept = os.path.join(self.store, "file-%d" % number)
            with open(kept, "rb") as handle:
                write_atomic(path, handle.read(), os.stat(kept).st_mode & 0o7777)
        for path in manifest["missing"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.forget()
        return manifest

    def forget(self) -> None:
        """Remove the snapshot; the manifest first, so that half of one is never taken for a whole."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.store, MANIFEST))
        self._discard(self.store)
        self._discard(self.store + ".new")

    @staticmethod
    def _discard(path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
