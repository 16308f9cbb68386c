# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of roles is made of, as one hash: the collection, the options, files of the controller that they name, and the machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .role_options import ROLES

COLLECTION = ROLES.parent
# facts that roles decide from; what else they know of a host are files, whose fingerprints are in its record
KEY_FACTS = (
    "architecture",
    "distribution",
    "distribution_version",
    "fqdn",
    "hostname",
    "machine",
    "sdops_gpu",
    "user_dir",
    "user_id",
)


@functools.lru_cache(maxsize=1)
def collection_digest() -> str:
    """SHA-256 of the code that a run may execute: roles and plugins."""
    digest = hashlib.sha256()
    for folder in ("plugins", "roles"):
        for path in sorted((COLLECTION / folder).rglob("*")):
            if "__pycache__" not in path.parts and path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(COLLECTION)} {content}\n".encode())
    return digest.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """All strings in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(name)
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


def named_files(value: Any) -> dict[str, list[int]]:
    """``{path: [size, time of change (ns)]}`` of the files of this machine that a value names by their absolute paths."""
    found = {}
    for text in set(_texts(value)):
        if text.startswith("/") and len(text) < 4096 and "\0" not in text and Path(text).is_file():
            status = os.stat(text)
            found[text] = [status.st_size, status.st_mtime_ns]
    return found


def convergence_key(roles: list[str], options: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """SHA-256 of all that a run of ``roles`` is made of: their ``options`` by name, and what counts of a host's ``facts``."""
    made_of = {
        "collection": collection_digest(),
        "roles": roles,
        "options": options,
        "files": named_files(options),
        "facts": {name: facts.get(name) for name in KEY_FACTS},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()
