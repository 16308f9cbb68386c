# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts that stand at a pinned commit, without asking the network when they already do."""

from __future__ import annotations

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, NamedTuple, Optional

from ..errors import SdopsError
from ..process import Completed, run

BRANCH = "sdops-pin"
COMMIT = re.compile(r"^[0-9a-f]{40}$")
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_ADVICE": "0", "LC_ALL": "C"}
# what git says when the fault will not go away by asking again
FINAL = (
    "not found",
    "Authentication failed",
    "could not read Username",
    "not our ref",
    "does not appear to be a git",
    "access denied",
)


class GitError(SdopsError):
    """A repository cannot be brought to its pin."""


class Pin(NamedTuple):
    """One wanted checkout: a display name, where from, which commit (40 hex digits), where to."""

    name: str
    url: str
    commit: str
    dest: str


class Outcome(NamedTuple):
    """What became of a pin: heads before and after (None: no checkout), what was (or would be) done, or why it failed."""

    pin: Pin
    before: Optional[str]
    after: Optional[str]
    action: Optional[str]
    error: Optional[str] = None


def redact(text: str) -> str:
    """Take user names and passwords out of URLs in ``text``."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def make_pin(entry: Dict[str, str]) -> Pin:
    """Validate one entry of the module's ``repos``. Raises GitError naming it."""
    name = entry.get("name") or os.path.basename(entry["dest"].rstrip("/"))
    if not COMMIT.match(entry["commit"]):
        raise GitError(
            "%s: commit %r is not a full commit id. Give all 40 hex digits; branches and tags can move."
            % (name, entry["commit"])
        )
    if not os.path.isabs(entry["dest"]):
        raise GitError("%s: dest %r is not an absolute path." % (name, entry["dest"]))
    return Pin(name, entry["url"], entry["commit"], entry["dest"].rstrip("/"))


class Checkout:
    """One directory that is, or shall become, a checkout of ``pin``."""

    def __init__(self, pin: Pin, retries: int = 3, blob_filter: str = "blob:none", git: str = "git") -> None:
        self.pin = pin
        self.retries = retries
        self.blob_filter = blob_filter
        self.git = git

    def _git(self, *arguments: str, where: Optional[str] = None) -> Completed:
        directory = where or self.pin.dest
        return run([self.git, "-c", "safe.directory=" + directory, "-C", directory, *arguments], env=QUIET)

    def head(self) -> Optional[str]:
        """Commit that dest stands at; None when there is no checkout. Raises GitError for a directory of something else."""
        dest = self.pin.dest
        if not os.path.isdir(dest) or not os.listdir(dest):
            return None
        if not os.path.exists(os.path.join(dest, ".git")):
            raise GitError(
                "%s exists but is no git checkout. Move it away, or choose another place for %s."
                % (dest, self.pin.name)
            )
        done = self._git("rev-parse", "--verify", "HEAD")
        return done.out.strip() if done.rc == 0 else ""

    def local_changes(self) -> List[str]:
        """Tracked files that differ from HEAD."""
        done = self._git("status", "--porcelain", "--untracked-files=no")
        return [line[3:] for line in done.out.splitlines()]

    def _network(self, what: str, *arguments: str, where: Optional[str] = None) -> None:
        """A git command that talks to the remote, tried again with back-off when the fault may pass."""
        done = self._git(*arguments, where=where)
        for attempt in range(self.retries):
            if done.rc == 0 or any(sign in done.err for sign in FINAL):
                break
            time.sleep(min(2**attempt, 10))
            done = self._git(*arguments, where=where)
        if done.rc != 0:
            raise GitError(
                "%s: %s of %s failed: %s Check that the repository still exists (upstreams do vanish), that this host reaches it "
                "(proxy, mirror), and that it has commit %s."
                % (self.pin.name, what, redact(self.pin.url), redact(done.tail(4)), self.pin.commit)
            )

    def _fetch(self, where: str) -> None:
        filtering = ["--filter=" + self.blob_filter] if self.blob_filter else []
        self._network(
            "fetch", "fetch", "--quiet", "--no-tags", "--depth=1", *filtering, "origin", self.pin.commit, where=where
        )

    def _checkout(self, where: str) -> None:
        # on a branch of ours: the WebUI does not list extensions whose HEAD is detached. With a partial clone this is
        # where the files themselves come down.
        self._network("checkout", "checkout", "--quiet", "-B", BRANCH, self.pin.commit, where=where)
        self._git("config", "sdops.pin", self.pin.commit, where=where)

    def _local_commits(self, head: str) -> bool:
        """Whether somebody committed on our branch, which moving it would lose."""
        branch = self._git("symbolic-ref", "--quiet", "--short", "HEAD").out.strip()
        return branch == BRANCH and self._git("config", "sdops.pin").out.strip() != head

    def apply(self, check: bool = False) -> Outcome:
        """Bring dest to the pin (or, with ``check``, say what that would take). Never throws local changes away."""
        before = self.head()
        pin = self.pin
        if before == pin.commit:
            return Outcome(pin, before, before, None)
        if before is None:
            if not check:
                self._clone()
            return Outcome(
                pin, None, pin.commit, "clone %s at %s into %s" % (redact(pin.url), pin.commit[:12], pin.dest)
            )
        changes = self.local_changes()
        if not changes and self._local_commits(before):
            raise GitError(
                "%s: somebody committed in %s, on top of the pin. Give those commits a branch of their own there "
                "(git branch NAME), or pin %s; nothing was touched." % (pin.name, pin.dest, before)
            )
        if changes:
            raise GitError(
                "%s: %s has local changes in %s and would have to move from %s to %s. Commit, stash or revert them there, or pin "
                "the commit it stands at; nothing was touched."
                % (
                    pin.name,
                    pin.dest,
                    ", ".join(changes[:5]) + (" ..." if len(changes) > 5 else ""),
                    before[:12],
                    pin.commit[:12],
                )
            )
        if not check:
            self._git("remote", "set-url", "origin", pin.url)
            if self._git("cat-file", "-e", pin.commit + "^{commit}").rc != 0:
                self._fetch(pin.dest)
            self._checkout(pin.dest)
        return Outcome(pin, before, pin.commit, "move %s from %s to %s" % (pin.dest, before[:12], pin.commit[:12]))

    def _clone(self) -> None:
        """Clone beside dest and rename, so that a cut leaves nothing under the final name."""
        dest = self.pin.dest
        partial = os.path.join(os.path.dirname(dest), ".%s.partial" % os.path.basename(dest))
        os.makedirs(os.path.dirname(dest), exist_ok=True)
        if not os.path.isdir(os.path.join(partial, ".git")):
            shutil.rmtree(partial, ignore_errors=True)
            os.makedirs(partial)
            for arguments in (["init", "--quiet"], ["remote", "add", "origin", self.pin.url]):
                done = self._git(*arguments, where=partial)
                if done.rc != 0:
                    raise GitError("%s: git %s failed: %s" % (self.pin.name, arguments[0], done.tail(4)))
        self._git("remote", "set-url", "origin", self.pin.url, where=partial)
        self._fetch(partial)
        self._checkout(partial)
        if os.path.isdir(dest):
            os.rmdir(dest)  # empty, or head() would have refused it
        os.rename(partial, dest)


def apply_all(
    pins: List[Pin], parallel: int = 4, check: bool = False, retries: int = 3, blob_filter: str = "blob:none"
) -> List[Outcome]:
    """Apply every pin, several at once; a failure is recorded and does not stop the others."""

    def one(pin: Pin) -> Outcome:
        try:
            return Checkout(pin, retries, blob_filter).apply(check)
        except SdopsError as exc:
            return Outcome(pin, None, None, None, str(exc))

    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        return list(pool.map(one, pins))
