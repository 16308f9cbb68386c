# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One git checkout: what is in it, and the steps that fetch commits and write files into it."""

from __future__ import annotations

import glob
import os

from ..errors import GitError
from ..urls import redact_logins
from .command import Git, explain_failure
from .commit_cache import CommitCache
from .pin import COMMIT_ID, Pin, partial_path

# The WebUI takes an extension whose HEAD is detached for unreadable and does not list it: so there is a branch.
BRANCH = "sdops-pin"


class Checkout:
    """One directory that is, or shall become, a checkout of ``pin``."""

    def __init__(
        self,
        pin: Pin,
        git: Git,
        blob_filter: str = "blob:none",
        refresh: bool = False,
        cache: CommitCache | None = None,
    ) -> None:
        self.pin = pin._replace(url=git.log_in(pin.url))
        self.original_url = pin.url
        self.git = git
        self.blob_filter = blob_filter
        self.refresh = refresh
        self.cache = cache
        self.ignored_changes: tuple[str, ...] = ()  # tracked files whose changes are nobody's work
        self.partial = partial_path(pin.dest)

    # --- what is there ---------------------------------------------------------------------------------------------
    def head(self) -> str | None:
        """Commit of dest; "" for a repository without one; None when nothing is there. Raises GitError for other things."""
        dest, name = self.pin.dest, self.pin.name
        if not os.path.lexists(dest) or (os.path.isdir(dest) and not os.listdir(dest)):
            return None
        if not os.path.exists(os.path.join(dest, ".git")):
            raise GitError(
                f"{name}: {dest} exists but is no git checkout. Move it away, or choose another dest; nothing in it was touched."
            )
        opened = self.git.run(dest, "rev-parse", "--git-dir")
        if opened.rc != 0:
            raise GitError(f"{name}: git cannot open {dest}: {redact_logins(opened.tail(3))}")
        found = self.git.run(dest, "rev-parse", "--verify", "--quiet", "HEAD")
        return found.out.strip() if found.rc == 0 else ""

    def config(self, key: str) -> str:
        return self.git.run(self.pin.dest, "config", "--local", "--get", key).out.strip()

    def local_changes(self) -> list[str]:
        """Tracked files that differ from HEAD, staged ones included."""
        done = self.git.run(
            self.pin.dest,
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=no",
            "--no-renames",
            "--ignore-submodules=all",
        )
        if done.rc != 0:
            raise GitError(f"{self.pin.name}: git status of {self.pin.dest} failed: {done.tail(3)}")
        return [entry[3:] for entry in done.out.split("\0") if entry and entry[3:] not in self.ignored_changes]

    def local_commits(self, head: str) -> list[str]:
        """Commits that moving would lose: those of HEAD and of BRANCH that are neither the pin nor on another ref."""
        branch = self.git.run(self.pin.dest, "rev-parse", "--verify", "--quiet", "refs/heads/" + BRANCH).out.strip()
        pinned = self.config("sdops.pin")
        return [c for c in sorted({head, branch} - {"", pinned}) if not self._on_another_ref(c)]

    def _on_another_ref(self, commit: str) -> bool:
        names = "--format=%(refname)"
        found = self.git.run(self.pin.dest, "for-each-ref", names, "--contains", commit, lazy=False).out.split()
        return any(name != "refs/heads/" + BRANCH for name in found)

    def is_managed(self) -> bool:
        """Whether this collection has made this checkout, or moved it."""
        return bool(self.config("sdops.pin"))

    def untracked(self) -> list[str]:
        """What git does not know or is told to ignore: models, lists and results of the user. Directories end with "/"."""
        done = self._output("ls-files", "-z", "--others", "--directory", "--no-empty-directory")
        return [entry for entry in done.split("\0") if entry]

    def has_unpublished_commits(self, head: str) -> bool:
        """Whether a branch, or the pin's, has commits that came from no remote."""
        pins = [commit for commit in (self.config("sdops.pin"), self.config("sdops.commit")) if commit]
        return bool(
            self._output("rev-list", "--max-count=1", head, "--branches", "--not", "--remotes", "--tags", *pins).strip()
            or self._output("stash", "list").strip()
        )

    def _output(self, *arguments: str) -> str:
        done = self.git.run(self.pin.dest, *arguments)
        if done.rc != 0:
            raise GitError(f"{self.pin.name}: git {arguments[0]} of {self.pin.dest} failed: {done.tail(3)}")
        return done.out

    def has_commit(self, directory: str, commit: str) -> bool:
        # a partial clone would go and fetch what it lacks: this question is about the disk
        return self.git.run(directory, "cat-file", "-e", commit + "^{commit}", lazy=False).rc == 0

    def has_stale_submodules(self, directory: str) -> bool:
        done = self.git.run(directory, "submodule", "status", "--recursive")
        return done.rc != 0 or any(line[:1] in "-+U" for line in done.out.splitlines())

    def recorded_commit(self) -> str | None:
        """Commit that an earlier run resolved this ref of this repository to."""
        if (
            self.refresh
            or self.config("sdops.ref") != self.pin.ref
            or self.config("sdops.url") != redact_logins(self.pin.url)
        ):
            return None
        commit = self.config("sdops.commit")
        return commit if COMMIT_ID.match(commit) else None

    # --- getting there ---------------------------------------------------------------------------------------------
    def resolve_ref(self, directory: str) -> str:
        """Ask the remote what the ref means now: a tag (the commit it points to) before a branch."""
        ref = str(self.pin.ref)
        refs = [ref] if ref.startswith("refs/") else [f"refs/tags/{ref}^{{}}", "refs/tags/" + ref, "refs/heads/" + ref]
        done = self.git.network(directory, "ls-remote", "--quiet", self.pin.url, *refs)
        if done.rc != 0:
            raise GitError(explain_failure(self.pin.name, self.original_url, "looking up " + ref, done.tail(4)))
        found = {line.split("\t")[1]: line.split("\t")[0] for line in done.out.splitlines() if "\t" in line}
        for name in refs:
            if name in found:
                return found[name]
        raise GitError(
            f"{self.pin.name}: {redact_logins(self.pin.url)} has no tag or branch {ref!r}. Correct ref, or pin a commit."
        )

    def run_or_fail(self, directory: str, *arguments: str) -> None:
        done = self.git.run(directory, *arguments)
        if done.rc != 0:
            raise GitError(f"{self.pin.name}: git {arguments[0]} in {directory} failed: {redact_logins(done.tail(4))}")

    def fetch(self, directory: str, commit: str, shallow: bool, partial: bool) -> None:
        """Fetch one commit, from the cache if there is one; a shallow one is put there."""
        if self.has_commit(directory, commit):
            return
        if self.cache is None or not shallow:
            self._fetch_from_remote(directory, commit, shallow, partial)
            return
        with self.cache.lock(commit):
            if not self.cache.load(directory, commit):
                self._fetch_from_remote(directory, commit, shallow, partial=False)
                self.cache.store(directory, commit)

    def _fetch_from_remote(self, directory: str, commit: str, shallow: bool, partial: bool) -> None:
        """Servers differ in what they can do, so this goes from the least bytes to the most."""
        depth = ["--depth=1"] if shallow else []
        attempts = []
        if partial and self.blob_filter:
            attempts.append([*depth, "--no-tags", "--filter=" + self.blob_filter, "origin", commit])
        attempts.append([*depth, "--no-tags", "--no-filter", "origin", commit])
        # an old server gives no commit by its id: everything there is, then
        attempts.append(["--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])
        message = ""
        for attempt in attempts:
            done = self.git.network(directory, "fetch", "--quiet", *attempt)
            if done.rc == 0 and self.has_commit(directory, commit):
                return
            message = done.tail(4) or f"the repository has no commit {commit}"
            if self.git.is_permanent_failure(done):
                break
            self._unset_filter(directory)
        raise GitError(explain_failure(self.pin.name, self.original_url, "fetching commit " + commit, message))

    def _unset_filter(self, directory: str) -> None:
        """Undo what a rejected filter leaves in the configuration: git would look for every missing object at the remote,
        and with some servers for ever."""
        inside = self.git.run(directory, "rev-parse", "--absolute-git-dir").out.strip()
        if not glob.glob(os.path.join(glob.escape(inside), "objects", "pack", "*.promisor")):
            for key in ("promisor", "partialclonefilter"):
                self.git.run(directory, "config", "--local", "--unset-all", "remote.origin." + key)

    def check_out(self, directory: str, commit: str, force: bool = False) -> None:
        # with a partial clone this is where the files themselves come down, so it may need the network
        # and what somebody put where the commit has a file is in the way, whether git ignores it or not
        overwrite = "--force" if force else "--no-overwrite-ignore"
        arguments = ["checkout", "--quiet", overwrite, "--no-track", "-B", BRANCH, commit]
        done = self.git.network(directory, *arguments)
        if done.rc == 0:
            self.run_or_fail(directory, "config", "--local", "sdops.pin", commit)
            return
        if "untracked working tree files" in done.err:
            raise GitError(
                f"{self.pin.name}: untracked files in {directory} are in the way of commit {commit[:12]}. Move them "
                f"away; nothing was touched. git says: {redact_logins(done.tail(8))}"
            )
        raise GitError(explain_failure(self.pin.name, self.original_url, "checking out " + commit, done.tail(4)))

    def update_submodules(self, directory: str) -> None:
        done = self.git.network(
            directory, "submodule", "update", "--init", "--checkout", "--recursive", "--depth=1", "--quiet"
        )
        if done.rc != 0:
            # a server that gives no commit by its id
            done = self.git.network(directory, "submodule", "update", "--init", "--checkout", "--recursive", "--quiet")
        if done.rc != 0:
            raise GitError(explain_failure(self.pin.name, self.original_url, "updating the submodules", done.tail(4)))

    def record_commit(self, directory: str, commit: str) -> None:
        if self.pin.ref:
            for key, value in (("ref", self.pin.ref), ("url", redact_logins(self.pin.url)), ("commit", commit)):
                if self.git.run(directory, "config", "--local", "--get", "sdops." + key).out.strip() != value:
                    self.run_or_fail(directory, "config", "--local", "sdops." + key, value)
