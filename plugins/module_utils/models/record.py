# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we placed: path to size, time and hash, so that a second run costs a stat and not a hash."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Optional

from ..files import write_atomic


class Record:
    """The JSON file ``.sdops/models.json`` below ``webui_dir``. Paths in it are relative to that; it holds no secrets."""

    def __init__(self, webui_dir: str) -> None:
        self.root = webui_dir
        self.path = os.path.join(webui_dir, ".sdops", "models.json")
        try:
            with open(self.path, encoding="utf-8") as handle:
                self.entries: Dict[str, Dict[str, Any]] = json.load(handle)
        except (OSError, ValueError):
            self.entries = {}  # lost or damaged: files are verified again instead

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

    def by_source(self, source: str) -> Dict[str, Dict[str, Any]]:
        """Absolute path to entry of everything that came from ``source``."""
        return {os.path.join(self.root, k): e for k, e in self.entries.items() if e.get("source") == source}

    def put(self, path: str, **fields: Any) -> None:
        found = os.stat(path)
        self.entries[self._key(path)] = {**fields, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
        self._save()

    def drop(self, path: str) -> None:
        if self.entries.pop(self._key(path), None) is not None:
            self._save()

    def _save(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        write_atomic(self.path, (json.dumps(self.entries, indent=1, sort_keys=True) + "\n").encode())
