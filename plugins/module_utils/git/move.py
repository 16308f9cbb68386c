# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clone what is not there, move what is, and never throw local changes away."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from ..errors import GitError, SdopsError
from ..filesystem import read_regular
from ..urls import redact_logins
from .checkout import Checkout
from .command import Git
from .commit_cache import CommitCache
from .pin import COMMIT_ID, Pin, PinResult, group_by_nesting


class CheckoutMover:
    """Clones or moves one checkout to its pin.

    git writes one file after the other. A marker beside the index tells the next run that a half-moved tree was left by an earlier one.
    """

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.pin = checkout.pin
        self.git = checkout.git

    def apply(self, check: bool = False) -> PinResult:
        """Move dest to the pin, or with ``check`` say what that would take. Never throws local changes away."""
        pin = self.pin
        before = self.checkout.head()
        if before is None:
            return self._clone(check)
        actions: list[str] = []
        stale = False
        old_url = self.checkout.config("remote.origin.url")
        if old_url != pin.url:
            actions.append(
                "set origin of {} to {}{}".format(
                    pin.dest, redact_logins(pin.url), f" (was {redact_logins(old_url)})" if old_url else ""
                )
            )
        new_commit = pin.commit or self.checkout.recorded_commit()
        if new_commit is None and check:
            actions.append(f"look up {pin.ref} of {redact_logins(pin.url)} and move {pin.dest} there")
            return self._result(before, None, actions, old_url, stale)
        if new_commit is None:
            new_commit = self.checkout.resolve_ref(pin.dest)
        if before != new_commit or self._interrupted_target():
            self._reject_local_changes(before, new_commit)
            actions.append(
                f"finish moving {pin.dest} to {new_commit[:12]}"
                if before == new_commit
                else "move {} from {} to {}".format(pin.dest, (before or "nothing")[:12], new_commit[:12])
            )
        elif pin.submodules and self.checkout.has_stale_submodules(pin.dest):
            stale = True
            actions.append("update the submodules of " + pin.dest)
        if check:
            return self._result(before, new_commit, actions, old_url, stale)
        if old_url != pin.url:
            verb = ["set-url"] if old_url else ["add"]
            self.checkout.run_or_fail(pin.dest, "remote", *verb, "origin", pin.url)
        if before != new_commit or self._interrupted_target():
            self._move(before, new_commit)
        elif stale:
            self.checkout.update_submodules(pin.dest)
        self.checkout.record_commit(pin.dest, new_commit)
        if self.checkout.head() != new_commit:
            raise GitError(f"{pin.name}: {pin.dest} does not stand at {new_commit} although git reported no error.")
        return self._result(before, new_commit, actions, old_url, stale)

    def _result(
        self, before: str | None, new_commit: str | None, actions: list[str], old_url: str | None, stale: bool
    ) -> PinResult:
        was, url = "absent", redact_logins(self.pin.url)
        if before is not None:
            was = "{} from {}{}".format(
                before or "nothing",
                redact_logins(old_url or "nowhere"),
                ", submodules missing" if stale else "",
            )
        becomes = f"{new_commit or self.pin.ref} from {url}"
        return PinResult(self.pin, before or None, new_commit, new_commit, actions, None, was, becomes)

    def _clone(self, check: bool) -> PinResult:
        """Clone beside dest and rename, so that an interruption leaves nothing under the final name."""
        pin, partial = self.pin, self.checkout.partial
        action = f"clone {redact_logins(pin.url)} at {pin.commit[:12] if pin.commit else pin.ref} into {pin.dest}"
        if check:
            return self._result(None, pin.commit, [action], None, False)
        if os.path.isdir(os.path.join(partial, ".git")):
            # an interrupted run: what it has fetched stays, the locks that it could not remove do not
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
        self.checkout.run_or_fail(partial, "init", "--quiet")
        known = self.git.run(partial, "config", "--local", "--get", "remote.origin.url").rc == 0
        self.checkout.run_or_fail(partial, "remote", *(["set-url"] if known else ["add"]), "origin", pin.url)
        new_commit = pin.commit or self.checkout.resolve_ref(partial)
        self.checkout.fetch(partial, new_commit, shallow=True, partial=True)
        self.checkout.check_out(partial, new_commit, force=True)
        if pin.submodules:
            self.checkout.update_submodules(partial)
        self.checkout.record_commit(partial, new_commit)
        try:
            os.rename(partial, pin.dest)  # over an empty directory, else head() has raised
        except OSError as exc:
            raise GitError(f"{pin.name}: {pin.dest} cannot be put in its place: {exc.strerror}.") from exc
        return self._result(None, new_commit, [action], None, False)

    def _marker(self) -> str:
        inside = self.git.run(self.pin.dest, "rev-parse", "--absolute-git-dir").out.strip()
        return os.path.join(inside, "sdops-moving")

    def _interrupted_target(self) -> str | None:
        """Commit that an interrupted run was moving to; None when there was none."""
        try:
            commit = read_regular(self._marker(), limit=1024).decode("utf-8").strip()
        except (OSError, ValueError):
            return None
        return commit if COMMIT_ID.match(commit) else None

    def _is_left_by_move(self, path: str, target: str) -> bool:
        """Whether the file is what an interrupted move to ``target`` leaves: gone, or (the start of) the target's file."""
        full = os.path.join(self.pin.dest, path)
        if not os.path.lexists(full):
            return True
        if os.path.islink(full) or not os.path.isfile(full):
            return False
        with open(full, "rb") as handle:
            return self.git.begins_with(self.pin.dest, f"{target}:{path}", handle)

    def _reject_local_changes(self, before: str, new_commit: str) -> None:
        """Raise GitError when moving would lose somebody's work."""
        changes = self.checkout.local_changes()
        target = self._interrupted_target()
        commits = [] if target else self.checkout.local_commits(before)
        if commits:
            raise GitError(
                f"{self.pin.name}: somebody committed in {self.pin.dest}, and {commits[0]} is on no branch but "
                "sdops-pin. Nothing was touched. Give it a branch of its own "
                f"('git -C {self.pin.dest} branch NAME {commits[0]}'), or pin it."
            )
        if target:
            changes = [path for path in changes if not self._is_left_by_move(path, target)]
        if changes:
            shown = ", ".join(changes[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
            raise GitError(
                "{}: {} has local changes in {} and would have to move from {} to {}. Nothing was touched. Keep them with "
                "'git -C {} stash' or a commit, drop them with 'git -C {} checkout -- .', or pin the commit it stands at.".format(
                    self.pin.name,
                    self.pin.dest,
                    shown,
                    (before or "nothing")[:12],
                    new_commit[:12],
                    self.pin.dest,
                    self.pin.dest,
                )
            )

    def _move(self, before: str, new_commit: str) -> None:
        dest, is_resumed = self.pin.dest, self._interrupted_target() is not None
        if is_resumed:
            # git holds its lock while it moves; after an interruption nobody removes it
            lock = os.path.join(os.path.dirname(self._marker()), "index.lock")
            if os.path.exists(lock):
                os.unlink(lock)
        # somebody's full clone stays one: only what is shallow or partial already is fetched so
        shallow = self.git.run(dest, "rev-parse", "--is-shallow-repository").out.strip() == "true"
        self.checkout.fetch(dest, new_commit, shallow, bool(self.checkout.config("remote.origin.promisor")))
        marker = self._marker()
        with open(marker, "w", encoding="utf-8") as handle:
            handle.write(new_commit + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        try:
            # the tree was clean, or differs only by an interrupted move (see _reject_local_changes)
            self.checkout.check_out(dest, new_commit, force=is_resumed)
            if self.pin.submodules:
                self.checkout.update_submodules(dest)
        except GitError:
            if not self.checkout.local_changes():
                os.unlink(marker)  # git refused before it wrote anything
            raise
        os.unlink(marker)


def apply_pins(
    pins: list[Pin],
    git: Git,
    parallel: int = 4,
    check: bool = False,
    blob_filter: str = "blob:none",
    refresh: bool = False,
    cache: CommitCache | None = None,
) -> list[PinResult]:
    """Apply every pin, several at once; a failure is recorded and stops only the checkouts inside. In the order of ``pins``."""
    seen: dict[str, str] = {}
    for pin in pins:
        if pin.dest in seen:
            raise GitError(f"{seen[pin.dest]} and {pin.name} have the same dest {pin.dest}. Give each its own.")
        seen[pin.dest] = pin.name

    results: dict[int, PinResult] = {}

    def apply(index: int) -> PinResult:
        pin = pins[index]
        # a clone into the directory would be in the way of the next try of the one around it
        if any(
            result.error or result.skipped
            for result in results.values()
            if pin.dest.startswith(result.pin.dest + os.sep)
        ):
            return PinResult(pin, None, None, pin.commit, [], skipped=True)
        try:
            return CheckoutMover(Checkout(pin, git, blob_filter, refresh, cache)).apply(check)
        except SdopsError as exc:
            return PinResult(pin, None, None, pin.commit, [], str(exc))

    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        for group in group_by_nesting(pins):
            results.update(zip(group, list(pool.map(apply, group))))
    return [results[i] for i in range(len(pins))]
