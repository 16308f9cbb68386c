"""Builds what the lab serves: certificates, git repositories, wheels, models, the Xray release, the conda channel.

Every part is recorded with a fingerprint of its sources in WORK/build.json and built again only when that has changed or
its files are gone. Content is deterministic (fixed seeds, authors and dates), so commit ids and hashes are stable.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

LAB = Path(__file__).resolve().parents[2]
FAKES = LAB / "fakes"
# one moment for everything that carries a date: 2026-01-01 00:00 UTC
EPOCH = 1767225600
SKIP_NAMES = frozenset({"__pycache__", ".pytest_cache", ".ruff_cache", ".git", ".DS_Store"})


class BuildError(Exception):
    """Part of the lab's content cannot be built; a sentence for the user."""


def source_files(folder: Path) -> list[Path]:
    """The files of a fake tree, sorted, without caches."""
    return sorted(
        path
        for path in folder.rglob("*")
        if not SKIP_NAMES.intersection(path.relative_to(folder).parts)
        and path.suffix != ".pyc"
        and (path.is_file() or path.is_symlink())
    )


def fingerprint(*items: Any) -> str:
    """A digest of values, of files (content and mode) and of whole trees (Path)."""
    digest = hashlib.sha256()
    for item in items:
        if isinstance(item, Path) and item.is_dir():
            for path in source_files(item):
                digest.update(f"{path.relative_to(item)}\0{os.access(path, os.X_OK)}\0".encode())
                digest.update(os.readlink(path).encode() if path.is_symlink() else path.read_bytes())
        elif isinstance(item, Path):
            digest.update(item.read_bytes())
        else:
            digest.update(json.dumps(item, sort_keys=True, default=str).encode())
        digest.update(b"\0\0")
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The file appears whole, with its mode, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
    part.chmod(mode)
    part.replace(path)


class Builder:
    """Builds parts below ``work`` and remembers them in work/build.json."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.content = work / "content"
        self.content.mkdir(parents=True, exist_ok=True)
        self._state_file = work / "build.json"
        try:
            self._state = json.loads(self._state_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._state = {}

    def part(
        self, name: str, stamp: str, outputs: Iterable[Path], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The result of ``make``, from memory when ``stamp`` is unchanged and every output is there."""
        known = self._state.get(name, {})
        if known.get("stamp") == stamp and all(path.exists() for path in outputs):
            return known["result"]
        print(f"lab: building {name} ...", file=sys.stderr, flush=True)
        result = make()
        self._state[name] = {"stamp": stamp, "result": result}
        write_atomic(self._state_file, json.dumps(self._state, indent=1).encode())
        return result


def replace_tree(new: Path, target: Path) -> None:
    """Put the finished directory ``new`` in the place of ``target``."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
