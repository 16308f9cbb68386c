# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkout that is to stand at a commit: what is asked for, and what became of it."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from ..errors import GitError

COMMIT_ID = re.compile(r"^[0-9a-f]{40}\Z")


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


class PinResult(NamedTuple):
    """What became of a pin.

    ``before``/``after``: heads (None: no checkout, or a ref that check mode does not look up); ``resolved``: the commit
    that the pin means, where known; ``actions``: what was or would be done; ``error``: why it failed; ``was`` and
    ``becomes``: the checkout in words, before and after; ``skipped``: not tried, since the checkout around it failed.
    """

    pin: Pin
    before: str | None
    after: str | None
    resolved: str | None
    actions: list[str]
    error: str | None = None
    was: str = ""
    becomes: str = ""
    skipped: bool = False


def parse_pin(entry: dict[str, Any]) -> Pin:
    """Validate one entry of the module's ``repos``. Raises GitError naming it."""
    dest = entry["dest"]
    name = entry.get("name") or os.path.basename(dest.rstrip("/"))
    commit, ref = entry.get("commit"), entry.get("ref")
    if bool(commit) == bool(ref):
        raise GitError(f"{name}: give either commit or ref, and only one of them.")
    if commit and not COMMIT_ID.match(commit):
        raise GitError(
            f"{name}: commit {commit!r} is no full commit id. Give all 40 hex digits; a tag or branch goes into ref."
        )
    if ref and (ref.startswith("-") or re.search(r"[\s~^:?*\[\\]|\.\.", ref)):
        raise GitError(f"{name}: {ref!r} is no name of a tag or branch.")
    if not os.path.isabs(dest):
        raise GitError(f"{name}: dest {dest!r} is no absolute path.")
    # a symbolic link to the place where the checkout shall lie stays one
    return Pin(name, entry["repo"], os.path.realpath(dest), commit, ref, bool(entry.get("submodules")))


def partial_path(dest: str) -> str:
    """Where a clone grows until it is complete: beside ``dest``, so that a rename puts it there."""
    return os.path.join(os.path.dirname(dest), f".{os.path.basename(dest)}.sdops-partial")


def group_by_nesting(pins: list[Pin]) -> list[list[int]]:
    """Indexes of ``pins`` in groups that may run at once: a checkout inside another one waits for it."""
    depth = [sum(pin.dest.startswith(other.dest + os.sep) for other in pins) for pin in pins]
    return [[i for i, d in enumerate(depth) if d == level] for level in range(max(depth, default=-1) + 1)]
