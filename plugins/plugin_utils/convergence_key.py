# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of roles is made of, as one hash: the collection, the options, files of the controller that they name, and the machine."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from .messages import message
from .role_options import ROLES

COLLECTION = ROLES.parent
MAX_NAMES_OF_PARTS = 3  # of what has changed
PART_KINDS = ("collection", "roles", "fact", "file")  # of those that are no options
PART_DIGITS = 4  # hexadecimal: too few to guess a secret by
# options that name a file of this machine; what others name is on the target
CONTROLLER_FILES = ("base_toolbox_lock", "xray_proxy_controller_zip")
# options of what a run says, which change nothing on a host
SPEECH_OPTIONS = ("sdops_language",)
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


def controller_files(options: Mapping[str, Any]) -> dict[str, list[int]]:
    """``{path: [size, time of change (ns)]}`` of those files of this machine that CONTROLLER_FILES name and that exist."""
    found = {}
    for path in filter(None, (str(options.get(name) or "") for name in CONTROLLER_FILES)):
        with contextlib.suppress(OSError):
            status = os.stat(path)
            found[path] = [status.st_size, status.st_mtime_ns]
    return found


class ConvergenceKey(NamedTuple):
    """``key``: SHA-256. ``parts``: by name a few digits of each part's own, which say what has changed and nothing else.

    The name of a part is that of an option, or ``KIND:NAME``.
    """

    key: str
    parts: dict[str, str]

    def changed_parts(self, recorded: Mapping[str, str]) -> list[str]:
        """Names of the parts that are other ones than ``recorded``."""
        return sorted(name for name in {*self.parts, *recorded} if self.parts.get(name) != recorded.get(name))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def convergence_key(roles: list[str], options: Mapping[str, Any], facts: Mapping[str, Any]) -> ConvergenceKey:
    """The key of a run of ``roles`` with these ``options`` by name, and what counts of a host's ``facts``."""
    made_of = {
        "collection:": collection_digest(),
        "roles:": roles,
        **{f"fact:{name}": facts.get(name) for name in KEY_FACTS},
        **{f"file:{path}": status for path, status in controller_files(options).items()},
        **{name: value for name, value in options.items() if name not in SPEECH_OPTIONS},
    }
    return ConvergenceKey(_digest(made_of), {name: _digest(value)[:PART_DIGITS] for name, value in made_of.items()})


def describe_difference(difference: list[str], language: str) -> str:
    """What has changed since the last run, in words, of its kind and names: see ``compare_record`` and the action preflight."""
    kind, *names = difference
    shown = [_part_name(name, language) for name in names[:MAX_NAMES_OF_PARTS]]
    shown += ["..."] if len(names) > MAX_NAMES_OF_PARTS else []
    return message(f"difference_{kind}", language, names=message("list_separator", language).join(shown))


def _part_name(name: str, language: str) -> str:
    kind, colon, rest = name.partition(":")
    return message(f"part_{kind}", language, name=rest) if colon and kind in PART_KINDS else name
