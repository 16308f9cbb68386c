# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we placed: a second run trusts it and costs a stat, and removal touches nothing else."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Optional

from ..files import write_atomic
from ..transfer.disk import locked


class Record:
    """The JSON file ``.sdops/models.json`` below ``webui_dir``. Paths in it are relative to that; it holds no secrets.

    Several runs may write it: each change reads it anew under a lock.
    """

    def __init__(self, webui_dir: str) -> None:
        self.root = webui_dir
        self.path = os.path.join(webui_dir, ".sdops", "models.json")
        self.entries = self._read()

    def _read(self) -> Dict[str, Dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8") as handle:
                found = json.load(handle)
            return {k: e for k, e in found.items() if {"wish", "bytes", "mtime_ns", "sha256"} <= set(e)}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # lost or damaged: files are verified again instead

    def _key(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def get(self, path: str) -> Optional[Dict[str, Any]]:
        """The entry of a file that is still what was recorded (same size and time); None otherwise."""
        entry = self.entries.get(self._key(path))
        if entry is None:
            return None
        try:
            found = os.stat(path)
        except OSError:
            return None
        return entry if (found.st_size, found.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"]) else None

    def knows(self, path: str) -> bool:
        return self._key(path) in self.entries

    def by_wish(self, wish: str) -> Dict[str, Dict[str, Any]]:
        """Absolute path to entry of everything that came from this wish (see ModelSpec.wish)."""
        return {os.path.join(self.root, k): e for k, e in self.entries.items() if e["wish"] == wish}

    def put(self, path: str, **fields: Any) -> None:
        found = os.stat(path)
        entry = {**fields, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
        self._change(lambda entries: entries.update({self._key(path): entry}))

    def drop(self, path: str) -> None:
        if self.knows(path):
            self._change(lambda entries: entries.pop(self._key(path), None))

    def _change(self, change: Callable[[Dict[str, Any]], Any]) -> None:
        with locked(os.path.join(os.path.dirname(self.path), "locks", "record")):
            self.entries = self._read()
            change(self.entries)
            write_atomic(self.path, (json.dumps(self.entries, indent=1, sort_keys=True) + "\n").encode())
