# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkouts that stand at a pinned commit, without asking the network when they already do."""

from __future__ import annotations

import glob
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ..errors import SdopsError
from ..files import read_regular
from .command import Git, GitError, explain, redact

# The WebUI takes an extension whose HEAD is detached for unreadable and does not list it: a branch of ours then.
BRANCH = "sdops-pin"
COMMIT = re.compile(r"^[0-9a-f]{40}\Z")


class Pin(NamedTuple):
    """One wanted checkout.

    ``commit`` is 40 hex digits, or None where ``ref`` (a tag or branch) says what is wanted. ``dest`` is absolute.
    """

    name: str
    url: str
    dest: str
    commit: str | None = None
    ref: str | None = None
    submodules: bool = False


class Outcome(NamedTuple):
    """What became of a pin.

    ``before``/``after``: heads (None: no checkout, or a ref that check mode does not look up); ``resolved``: the commit
    that the pin means, where known; ``actions``: what was or would be done; ``error``: why it failed; ``was`` and
    ``becomes``: the checkout in words, before and after.
    """

    pin: Pin
    before: str | None
    after: str | None
    resolved: str | None
    actions: list[str]
    error: str | None = None
    was: str = ""
    becomes: str = ""


def make_pin(entry: dict[str, Any]) -> Pin:
    """Validate one entry of the module's ``repos``. Raises GitError naming it."""
    dest = entry["dest"]
    name = entry.get("name") or os.path.basename(dest.rstrip("/"))
    commit, ref = entry.get("commit"), entry.get("ref")
    if bool(commit) == bool(ref):
        raise GitError(f"{name}: give either commit or ref, and only one of them.")
    if commit and not COMMIT.match(commit):
        raise GitError(
            f"{name}: commit {commit!r} is no full commit id. Give all 40 hex digits; a tag or branch goes into ref."
        )
    if ref and (ref.startswith("-") or re.search(r"[\s~^:?*\[\\]|\.\.", ref)):
        raise GitError(f"{name}: {ref!r} is no name of a tag or branch.")
    if not os.path.isabs(dest):
        raise GitError(f"{name}: dest {dest!r} is no absolute path.")
    # a symbolic link to the place where the checkout shall lie stays one
    return Pin(name, entry["repo"], os.path.realpath(dest), commit, ref, bool(entry.get("submodules")))


def partial_of(dest: str) -> str:
    """Where a clone grows until it is complete: beside ``dest``, so that a rename puts it there."""
    return os.path.join(os.path.dirname(dest), f".{os.path.basename(dest)}.sdops-partial")


class Checkout:
    """One directory that is, or shall become, a checkout of ``pin``."""

    def __init__(self, pin: Pin, git: Git, blob_filter: str = "blob:none", refresh: bool = False) -> None:
        self.pin = pin._replace(url=git.log_in(pin.url))
        self.asked = pin.url
        self.git = git
        self.blob_filter = blob_filter
        self.refresh = refresh
        self.disregard: tuple[str, ...] = ()  # tracked files whose changes are nobody's work
        self.partial = partial_of(pin.dest)

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
            raise GitError(f"{name}: git cannot open {dest}: {redact(opened.tail(3))}")
        found = self.git.run(dest, "rev-parse", "--verify", "--quiet", "HEAD")
        return found.out.strip() if found.rc == 0 else ""

    def _config(self, key: str) -> str:
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
        return [entry[3:] for entry in done.out.split("\0") if entry and entry[3:] not in self.disregard]

    def local_commits(self, head: str) -> list[str]:
        """Commits that moving would lose: those of HEAD and of our branch that are neither our pin nor on another ref."""
        ours = self.git.run(self.pin.dest, "rev-parse", "--verify", "--quiet", "refs/heads/" + BRANCH).out.strip()
        pinned = self._config("sdops.pin")
        return [c for c in sorted({head, ours} - {"", pinned}) if not self._on_another_ref(c)]

    def _on_another_ref(self, commit: str) -> bool:
        names = "--format=%(refname)"
        found = self.git.run(self.pin.dest, "for-each-ref", names, "--contains", commit, lazy=False).out.split()
        return any(name != "refs/heads/" + BRANCH for name in found)

    def is_ours(self) -> bool:
        """Whether we have made this checkout, or moved it."""
        return bool(self._config("sdops.pin"))

    def untracked(self) -> list[str]:
        """What git does not know or is told to ignore: models, lists and results of the user. Directories end with "/"."""
        done = self._must_say("ls-files", "-z", "--others", "--directory", "--no-empty-directory")
        return [entry for entry in done.split("\0") if entry]

    def other_commits(self, head: str) -> bool:
        """Whether a branch, or our pin's, has commits that no remote has given us."""
        pins = [commit for commit in (self._config("sdops.pin"), self._config("sdops.commit")) if commit]
        return bool(
            self._must_say(
                "rev-list", "--max-count=1", head, "--branches", "--not", "--remotes", "--tags", *pins
            ).strip()
            or self._must_say("stash", "list").strip()
        )

    def _must_say(self, *arguments: str) -> str:
        done = self.git.run(self.pin.dest, *arguments)
        if done.rc != 0:
            raise GitError(f"{self.pin.name}: git {arguments[0]} of {self.pin.dest} failed: {done.tail(3)}")
        return done.out

    def _has(self, where: str, commit: str) -> bool:
        # a partial clone would go and fetch what it lacks: this question is about the disk
        return self.git.run(where, "cat-file", "-e", commit + "^{commit}", lazy=False).rc == 0

    def _submodules_stale(self, where: str) -> bool:
        done = self.git.run(where, "submodule", "status", "--recursive")
        return done.rc != 0 or any(line[:1] in "-+U" for line in done.out.splitlines())

    # --- what is wanted --------------------------------------------------------------------------------------------
    def recorded(self) -> str | None:
        """Commit that an earlier run resolved this ref of this repository to."""
        if (
            self.refresh
            or self._config("sdops.ref") != self.pin.ref
            or self._config("sdops.url") != redact(self.pin.url)
        ):
            return None
        commit = self._config("sdops.commit")
        return commit if COMMIT.match(commit) else None

    def _resolve(self, where: str) -> str:
        """Ask the remote what the ref means now: a tag (the commit it points to) before a branch."""
        ref = str(self.pin.ref)
        wanted = (
            [ref] if ref.startswith("refs/") else [f"refs/tags/{ref}^{{}}", "refs/tags/" + ref, "refs/heads/" + ref]
        )
        done = self.git.network(where, "ls-remote", "--quiet", self.pin.url, *wanted)
        if done.rc != 0:
            raise GitError(explain(self.pin.name, self.asked, "looking up " + ref, done.tail(4)))
        found = {line.split("\t")[1]: line.split("\t")[0] for line in done.out.splitlines() if "\t" in line}
        for name in wanted:
            if name in found:
                return found[name]
        raise GitError(
            f"{self.pin.name}: {redact(self.pin.url)} has no tag or branch {ref!r}. Correct ref, or pin a commit."
        )

    # --- getting there ---------------------------------------------------------------------------------------------
    def apply(self, check: bool = False) -> Outcome:
        """Bring dest to the pin, or with ``check`` say what that would take. Never throws local changes away."""
        pin = self.pin
        before = self.head()
        if before is None:
            return self._clone(check)
        actions: list[str] = []
        stale = False
        old_url = self._config("remote.origin.url")
        if old_url != pin.url:
            actions.append(
                "set origin of {} to {}{}".format(
                    pin.dest, redact(pin.url), f" (was {redact(old_url)})" if old_url else ""
                )
            )
        wanted = pin.commit or self.recorded()
        if wanted is None and check:
            actions.append(f"look up {pin.ref} of {redact(pin.url)} and move {pin.dest} there")
            return self._outcome(before, None, actions, old_url, stale)
        if wanted is None:
            wanted = self._resolve(pin.dest)
        if before != wanted or self._interrupted():
            self._refuse_changes(before, wanted)
            actions.append(
                f"finish moving {pin.dest} to {wanted[:12]}"
                if before == wanted
                else "move {} from {} to {}".format(pin.dest, (before or "nothing")[:12], wanted[:12])
            )
        elif pin.submodules and self._submodules_stale(pin.dest):
            stale = True
            actions.append("bring the submodules of " + pin.dest)
        if check:
            return self._outcome(before, wanted, actions, old_url, stale)
        if old_url != pin.url:
            verb = ["set-url"] if old_url else ["add"]
            self._must(pin.dest, "remote", *verb, "origin", pin.url)
        if before != wanted or self._interrupted():
            self._move(before, wanted)
        elif stale:
            self._bring_submodules(pin.dest)
        self._record(pin.dest, wanted)
        if self.head() != wanted:
            raise GitError(f"{pin.name}: {pin.dest} does not stand at {wanted} although git reported no error.")
        return self._outcome(before, wanted, actions, old_url, stale)

    def _outcome(
        self, before: str | None, wanted: str | None, actions: list[str], old_url: str | None, stale: bool
    ) -> Outcome:
        was, url = "absent", redact(self.pin.url)
        if before is not None:
            was = "{} from {}{}".format(
                before or "nothing",
                redact(old_url or "nowhere"),
                ", submodules missing" if stale else "",
            )
        becomes = f"{wanted or self.pin.ref} from {url}"
        return Outcome(self.pin, before or None, wanted, wanted, actions, None, was, becomes)

    def _clone(self, check: bool) -> Outcome:
        """Clone beside dest and rename, so that a cut leaves nothing under the final name."""
        pin, partial = self.pin, self.partial
        action = f"clone {redact(pin.url)} at {pin.commit[:12] if pin.commit else pin.ref} into {pin.dest}"
        if check:
            return self._outcome(None, pin.commit, [action], None, False)
        if os.path.isdir(os.path.join(partial, ".git")):
            # a cut run of ours: what it has fetched is kept, the locks that it could not take away are not
            for directory, _dirs, files in os.walk(os.path.join(partial, ".git")):
                for name in files:
                    if name.endswith(".lock"):
                        os.unlink(os.path.join(directory, name))
        else:
            shutil.rmtree(partial, ignore_errors=True)
            try:
                os.makedirs(partial)
            except OSError as exc:
                raise GitError(f"{pin.name}: {partial} cannot be made: {exc.strerror}.") from exc
        self._must(partial, "init", "--quiet")
        known = self.git.run(partial, "config", "--local", "--get", "remote.origin.url").rc == 0
        self._must(partial, "remote", *(["set-url"] if known else ["add"]), "origin", pin.url)
        wanted = pin.commit or self._resolve(partial)
        self._fetch(partial, wanted, shallow=True, partial=True)
        self._checkout(partial, wanted, force=True)
        if pin.submodules:
            self._bring_submodules(partial)
        self._record(partial, wanted)
        try:
            os.rename(partial, pin.dest)  # over an empty directory, or head() would have refused
        except OSError as exc:
            raise GitError(f"{pin.name}: {pin.dest} cannot be put in its place: {exc.strerror}.") from exc
        return self._outcome(None, wanted, [action], None, False)

    def _must(self, where: str, *arguments: str) -> None:
        done = self.git.run(where, *arguments)
        if done.rc != 0:
            raise GitError(f"{self.pin.name}: git {arguments[0]} in {where} failed: {redact(done.tail(4))}")

    def _fetch(self, where: str, commit: str, shallow: bool, partial: bool) -> None:
        """Bring one commit. Servers differ in what they can do, so this goes from the least bytes to the most."""
        if self._has(where, commit):
            return
        depth = ["--depth=1"] if shallow else []
        ways = []
        if partial and self.blob_filter:
            ways.append([*depth, "--no-tags", "--filter=" + self.blob_filter, "origin", commit])
        ways.append([*depth, "--no-tags", "origin", commit])
        # an old server gives no commit by its id: everything there is, then
        ways.append(["--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])
        said = ""
        for way in ways:
            done = self.git.network(where, "fetch", "--quiet", *way)
            if done.rc == 0 and self._has(where, commit):
                return
            said = done.tail(4) or f"the repository has no commit {commit}"
            if self.git.hopeless(done):
                break
            self._forget_filter(where)
        raise GitError(explain(self.pin.name, self.asked, "fetching commit " + commit, said))

    def _forget_filter(self, where: str) -> None:
        """Undo what a refused filter leaves in the configuration: git would look for every missing object at the remote,
        and with some servers for ever."""
        inside = self.git.run(where, "rev-parse", "--absolute-git-dir").out.strip()
        if not glob.glob(os.path.join(glob.escape(inside), "objects", "pack", "*.promisor")):
            for key in ("promisor", "partialclonefilter"):
                self.git.run(where, "config", "--local", "--unset-all", "remote.origin." + key)

    def _checkout(self, where: str, commit: str, force: bool = False) -> None:
        # with a partial clone this is where the files themselves come down, so it may need the network
        # and what somebody put where the commit has a file is in the way, whether git ignores it or not
        how = "--force" if force else "--no-overwrite-ignore"
        arguments = ["checkout", "--quiet", how, "--no-track", "-B", BRANCH, commit]
        done = self.git.network(where, *arguments)
        if done.rc == 0:
            self._must(where, "config", "--local", "sdops.pin", commit)
            return
        if "untracked working tree files" in done.err:
            raise GitError(
                f"{self.pin.name}: untracked files in {where} are in the way of commit {commit[:12]}. Move them away; nothing was touched. git says: {redact(done.tail(8))}"
            )
        raise GitError(explain(self.pin.name, self.asked, "checking out " + commit, done.tail(4)))

    def _bring_submodules(self, where: str) -> None:
        done = self.git.network(
            where, "submodule", "update", "--init", "--checkout", "--recursive", "--depth=1", "--quiet"
        )
        if done.rc != 0:
            # a server that gives no commit by its id
            done = self.git.network(where, "submodule", "update", "--init", "--checkout", "--recursive", "--quiet")
        if done.rc != 0:
            raise GitError(explain(self.pin.name, self.asked, "bringing the submodules", done.tail(4)))

    def _record(self, where: str, commit: str) -> None:
        if self.pin.ref:
            for key, value in (("ref", self.pin.ref), ("url", redact(self.pin.url)), ("commit", commit)):
                if self.git.run(where, "config", "--local", "--get", "sdops." + key).out.strip() != value:
                    self._must(where, "config", "--local", "sdops." + key, value)

    # --- moving an existing checkout -------------------------------------------------------------------------------
    # git writes one file after the other. A note beside the index tells the next run that a half-moved tree is ours.
    def _note(self) -> str:
        inside = self.git.run(self.pin.dest, "rev-parse", "--absolute-git-dir").out.strip()
        return os.path.join(inside, "sdops-moving")

    def _interrupted(self) -> str | None:
        """Commit that a cut run of ours was moving to; None when there was none."""
        try:
            commit = read_regular(self._note(), limit=1024).decode("utf-8").strip()
        except (OSError, ValueError):
            return None
        return commit if COMMIT.match(commit) else None

    def _of_ours(self, path: str, target: str) -> bool:
        """Whether the file is what a cut move to ``target`` leaves: gone, or (the start of) the target's file."""
        full = os.path.join(self.pin.dest, path)
        if not os.path.lexists(full):
            return True
        if os.path.islink(full) or not os.path.isfile(full):
            return False
        with open(full, "rb") as handle:
            return self.git.begins_with(self.pin.dest, f"{target}:{path}", handle)

    def _refuse_changes(self, before: str, wanted: str) -> None:
        """Raise GitError when moving would lose somebody's work."""
        changes = self.local_changes()
        target = self._interrupted()
        commits = [] if target else self.local_commits(before)
        if commits:
            raise GitError(
                f"{self.pin.name}: somebody committed in {self.pin.dest}, and {commits[0]} is on no branch but ours. Nothing was touched. Give it a branch of its own "
                f"('git -C {self.pin.dest} branch NAME {commits[0]}'), or pin it."
            )
        if target:
            changes = [path for path in changes if not self._of_ours(path, target)]
        if changes:
            shown = ", ".join(changes[:5]) + (" and %d more" % (len(changes) - 5) if len(changes) > 5 else "")
            raise GitError(
                "{}: {} has local changes in {} and would have to move from {} to {}. Nothing was touched. Keep them with "
                "'git -C {} stash' or a commit, drop them with 'git -C {} checkout -- .', or pin the commit it stands at.".format(
                    self.pin.name,
                    self.pin.dest,
                    shown,
                    (before or "nothing")[:12],
                    wanted[:12],
                    self.pin.dest,
                    self.pin.dest,
                )
            )

    def _move(self, before: str, wanted: str) -> None:
        dest, again = self.pin.dest, self._interrupted()
        if again:
            # git holds its lock while it moves; after a cut nobody takes it away
            lock = os.path.join(os.path.dirname(self._note()), "index.lock")
            if os.path.exists(lock):
                os.unlink(lock)
        # somebody's full clone stays one: only what is shallow or partial already is fetched so
        shallow = self.git.run(dest, "rev-parse", "--is-shallow-repository").out.strip() == "true"
        self._fetch(dest, wanted, shallow, bool(self._config("remote.origin.promisor")))
        note = self._note()
        with open(note, "w", encoding="utf-8") as handle:
            handle.write(wanted + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            # the tree was clean, or differs only by our own cut move (see _refuse_changes)
            self._checkout(dest, wanted, force=bool(again))
            if self.pin.submodules:
                self._bring_submodules(dest)
        except GitError:
            if not self.local_changes():
                os.unlink(note)  # git refused before it wrote anything
            raise
        os.unlink(note)


def waves(pins: list[Pin]) -> list[list[int]]:
    """Indexes of ``pins`` in groups that may run at once: a checkout inside another one waits for it."""
    depth = [sum(pin.dest.startswith(other.dest + os.sep) for other in pins) for pin in pins]
    return [[i for i, d in enumerate(depth) if d == level] for level in range(max(depth, default=-1) + 1)]


def apply_all(
    pins: list[Pin],
    git: Git,
    parallel: int = 4,
    check: bool = False,
    blob_filter: str = "blob:none",
    refresh: bool = False,
) -> list[Outcome]:
    """Apply every pin, several at once; a failure is recorded and does not stop the others. In the order of ``pins``."""
    seen: dict[str, str] = {}
    for pin in pins:
        if pin.dest in seen:
            raise GitError(f"{seen[pin.dest]} and {pin.name} have the same dest {pin.dest}. Give each its own.")
        seen[pin.dest] = pin.name

    def one(index: int) -> Outcome:
        pin = pins[index]
        try:
            return Checkout(pin, git, blob_filter, refresh).apply(check)
        except SdopsError as exc:
            return Outcome(pin, None, None, pin.commit, [], str(exc))

    outcomes: dict[int, Outcome] = {}
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        for group in waves(pins):
            outcomes.update(zip(group, pool.map(one, group)))
    return [outcomes[i] for i in range(len(pins))]
