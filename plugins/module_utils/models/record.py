# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was installed: a second run trusts it and costs a stat, and removal touches nothing else."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Iterable

from ..filesystem import load_json, locked, write_atomic

# an entry without these is none
REQUIRED_FIELDS = {"source_id": str, "kind": str, "sha256": str, "bytes": int, "mtime_ns": int}


def _is_valid(key: str, entry: Any) -> bool:
    inside = not os.path.isabs(key) and os.pardir not in key.split(os.sep)
    return (
        inside
        and isinstance(entry, dict)
        and all(isinstance(entry.get(f), kind) for f, kind in REQUIRED_FIELDS.items())
    )


class ModelRecord:
    """The JSON file ``.sdops/models.json`` below ``webui_dir``. Paths in it are relative to that; it holds no secrets.

    Several runs may write it: each change reads it again under a lock. Raises FileTypeError where something else than a file lies
    at its path.
    """

    def __init__(self, webui_dir: str) -> None:
        self.root = webui_dir
        self.path = os.path.join(webui_dir, ".sdops", "models.json")
        self.entries = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = load_json(self.path)
        except (OSError, ValueError):
            found = {}  # lost or damaged: files are verified again instead
        return {key: entry for key, entry in found.items() if _is_valid(key, entry)} if isinstance(found, dict) else {}

    def _key(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def get(self, path: str) -> dict[str, Any] | None:
        """The entry of a file that is still what was recorded (same size and time); None otherwise."""
        entry = self.entries.get(self._key(path))
        if entry is None:
            return None
        try:
            found = os.stat(path)
        except OSError:
            return None
        return entry if (found.st_size, found.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"]) else None

    def get_recorded(self, path: str) -> dict[str, Any] | None:
        """The entry of a path that something was installed at, whatever lies there now."""
        return self.entries.get(self._key(path))

    def find_by_source(self, source_id: str, kind: str | None, name: str | None) -> dict[str, dict[str, Any]]:
        """Absolute path to entry of what was installed from a source (see ModelSpec.source_id); sidecars are not among it.

        Where ``kind`` or ``name`` is None those count that the source itself gives.
        """
        found = {}
        for key, entry in self.entries.items():
            last = os.path.basename(key)
            if (
                entry["source_id"] == source_id
                and not entry.get("sidecar_of")
                and (kind or entry.get("source_kind") or entry["kind"]) == entry["kind"]
                and (name or entry.get("source_name") or last) == last
            ):
                found[os.path.join(self.root, key)] = entry
        return found

    def sidecars_of(self, path: str) -> dict[str, dict[str, Any]]:
        """Absolute path to entry of the sidecars that were installed for the model at ``path``."""
        key = self._key(path)
        return {os.path.join(self.root, k): e for k, e in self.entries.items() if e.get("sidecar_of") == key}

    def put(
        self, path: str, temp_path: str | None = None, sidecar_of: str = "", adopted: bool = False, **fields: Any
    ) -> None:
        """Record what lies at ``path``, or what ``temp_path`` will be when it is renamed to it; ``sidecar_of``: the model's path.

        ``adopted``: it lay there already. What was installed here before and has the same content is not adopted but known again.
        """
        found = os.stat(temp_path or path)
        entry = {**fields, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
        if sidecar_of:
            entry["sidecar_of"] = self._key(sidecar_of)

        def change(entries: dict[str, Any]) -> None:
            before = entries.get(self._key(path)) or {}
            known = before.get("sha256") == entry["sha256"]
            if adopted and (before.get("adopted") or not known):
                entry["adopted"] = True
            if "lists" in before:
                entry["lists"] = before["lists"]
            entries[self._key(path)] = entry

        self._change(change)

    def lists_of(self, path: str) -> list[str]:
        """Names of the lists of models that want what was installed at ``path``; none where no list was recorded."""
        found = (self.get_recorded(path) or {}).get("lists")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    def set_lists(self, paths: Iterable[str], list_name: str, is_listed: bool) -> None:
        """Record for each recorded one of ``paths`` that the list ``list_name`` wants it, or does so no longer."""
        lists = {path: set(self.lists_of(path)) for path in paths if self.get_recorded(path)}
        keys = [self._key(path) for path, names in lists.items() if (list_name in names) is not is_listed]
        if not keys:
            return

        def change(entries: dict[str, Any]) -> None:
            for key in keys:
                if key in entries:
                    names = {name for name in entries[key].get("lists") or [] if name != list_name}
                    entries[key]["lists"] = sorted({*names, list_name} if is_listed else names)

        self._change(change)

    def drop(self, path: str) -> None:
        if self.get_recorded(path):
            self._change(lambda entries: entries.pop(self._key(path), None))

    def _change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        with locked(os.path.join(os.path.dirname(self.path), "locks", "record")):
            entries = self._read()
            change(entries)
            write_atomic(self.path, (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
            self.entries = entries


def load_single_files(state_file: str) -> dict[str, str]:
    """Absolute path to SHA-256 of what was installed as single files; empty where the JSON file ``state_file`` is lost or damaged."""
    try:
        found = load_json(state_file)
    except (OSError, ValueError):
        found = {}
    return (
        {path: sha256 for path, sha256 in found.items() if isinstance(sha256, str)} if isinstance(found, dict) else {}
    )


def record_single_file(state_file: str, path: str, sha256: str) -> None:
    os.makedirs(os.path.dirname(state_file), exist_ok=True)
    with locked(os.path.dirname(state_file)):
        entries = {**load_single_files(state_file), path: sha256}
        write_atomic(state_file, (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
