# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits that several hosts share, so that each is fetched once: one pack file for each, named by its commit.

The cache is no repository: others may write to it, and git would read settings there. A pack (gitformat-pack(5)) has objects only, and
git computes their names from their bytes, so what another host puts there either is the commit or is not used. Each pack holds
the commit with all its files and without its parents, which is what a shallow clone has.
"""

from __future__ import annotations

import contextlib
import os
from typing import ContextManager

from ..errors import SdopsError
from ..filesystem import copy_hashed, locked_if_possible, publish, reject_irregular
from .command import Git


class CommitCache:
    """The packs in ``directory``, an absolute path; made when the first one is stored. A cache that does not work is not used."""

    def __init__(self, directory: str, git: Git) -> None:
        self.directory = directory
        self.git = git

    def _path(self, commit: str) -> str:
        return os.path.join(self.directory, commit[:2], commit + ".pack")

    def lock(self, commit: str) -> ContextManager[None]:
        """One host fetches a commit, the others wait for it; where nothing can be written nobody waits."""
        return locked_if_possible(os.path.join(self.directory, commit[:2], f".{commit}.lock"))

    def load(self, repository: str, commit: str) -> bool:
        """Put a commit into the checkout ``repository``; False when the cache does not have it, or not whole."""
        source = self._path(commit)
        inside = self._git_directory(repository)
        pack = os.path.join(inside, "objects", "pack", f"pack-{commit}.pack")
        index = pack[: -len("pack")] + "idx"
        try:
            if reject_irregular(source) is None:
                return False
            copy_hashed(source, pack)
            # without an index, git takes no notice of a pack
            is_whole = self.git.run(repository, "index-pack", "-o", index, pack, lazy=False).rc == 0
            self._mark_shallow(inside, commit)
            listed = ["rev-list", "--objects", "--quiet", commit]
            if is_whole and self.git.run(repository, *listed, lazy=False).rc == 0:
                return True
        except (OSError, SdopsError):
            pass
        # its line in the file of shallow commits may stay: it says nothing about a commit that is not there
        for path in (index, pack):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return False

    def store(self, repository: str, commit: str) -> bool:
        """Put a commit of the checkout ``repository`` into the cache, with all its files; whether that could be done."""
        path = self._path(commit)
        temporary = os.path.join(os.path.dirname(path), f".{commit}.{os.getpid()}")
        arguments = ["pack-objects", "--revs", "--quiet", "--delta-base-offset", temporary]
        try:
            done = self.git.feed(repository, commit + "\n", *arguments)
            if done.rc != 0:
                return False
            made = f"{temporary}-{done.out.strip()}"
            os.unlink(made + ".idx")
            publish(made + ".pack", path)
        except (OSError, SdopsError):
            return False
        return True

    def _git_directory(self, repository: str) -> str:
        return self.git.run(repository, "rev-parse", "--absolute-git-dir").out.strip()

    @staticmethod
    def _mark_shallow(inside: str, commit: str) -> None:
        """Add ``commit`` to the commits whose parents are not there (gitrepository-layout(5))."""
        with open(os.path.join(inside, "shallow"), "a+", encoding="ascii") as handle:
            handle.seek(0)
            if commit not in handle.read().split():
                handle.write(commit + "\n")
