# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths a target may have written on the controller. What a target reports is never believed."""

from __future__ import annotations

import json
import os
import posixpath
from typing import Any, Iterable

from ..module_utils.content_scan.sanitize import MAX_NAME_BYTES
from ..module_utils.errors import UntrustedPathError
from ..module_utils.terminal import has_unseen

# the beginnings of our variables' names, and the facts of ours that begin like them
VARIABLE_PREFIXES = (
    "sdops_",
    "base_",
    "conda_env_",
    "extensions_",
    "model_fetch_",
    "sd_webui_",
    "webui_rollback_",
    "webui_service_",
    "xformers_build_",
    "xray_proxy_",
)
KNOWN_FACTS = ("sdops_gpu", "sdops_host")


def quote_path(path: Any) -> str:
    """``path`` for a message: in quotes, on one line, with control characters written out, at most 200 characters."""
    text = json.dumps(path) if isinstance(path, str) else f"{type(path).__name__} instead of a path"
    return text if len(text) <= 200 else text[:197] + "..."


def check_relative_path(root: str, path: Any) -> str:
    """``path`` (as a target reports it) relative to ``root``, a directory on that target.

    Both are POSIX paths. Raises UntrustedPathError for anything but a plain path below ``root``: another type, a path outside,
    ``..``, control or invisible formatting characters, undecodable bytes, or a name that no file system takes.
    """
    inside = root.rstrip("/") + "/"
    if not isinstance(path, str):
        raise UntrustedPathError(f"{quote_path(path)} was reported")
    if not path.startswith(inside):
        raise UntrustedPathError(f"{quote_path(path)} is not below {root}")
    relative = posixpath.normpath(path[len(inside) :].lstrip("/") or ".")
    for part in relative.split("/"):
        if part in ("", ".", ".."):
            raise UntrustedPathError(f"{quote_path(path)} is not below {root}")
        # Cc: control characters, Cf: bidirectional marks and the like, Cs: undecodable bytes, Zl and Zp: line separators
        if has_unseen(part):
            raise UntrustedPathError(f"{quote_path(path)} has control characters in its name")
        if len(part.encode("utf-8")) > MAX_NAME_BYTES:
            raise UntrustedPathError(f"{quote_path(path)} has a name of more than {MAX_NAME_BYTES} bytes")
    return relative


def check_local_path(root: str, relative: str) -> str:
    """Where ``relative`` (from ``check_relative_path``) belongs below ``root`` on the controller.

    ``root`` itself may be a symbolic link of the user's. Raises UntrustedPathError when a link below it leads out of it.
    """
    path = os.path.join(root, relative)
    real = os.path.realpath(root)
    if not os.path.realpath(path).startswith(real.rstrip("/") + "/"):
        raise UntrustedPathError(f"{quote_path(path)} leads out of {root} by a symbolic link on the controller")
    return path


def find_variables_among_facts(facts: Iterable[str]) -> list[str]:
    """Names in ``facts`` that are names of our variables: with ``inject_facts_as_vars`` a target would set them for itself."""
    return sorted(str(f) for f in facts if str(f).startswith(VARIABLE_PREFIXES) and f not in KNOWN_FACTS)


def reject_variables_among_facts(task_vars: dict[str, Any]) -> None:
    """Raises UntrustedPathError when the target's facts try to replace the inventory's variables."""
    found = find_variables_among_facts(task_vars.get("ansible_facts") or {})
    if found:
        raise UntrustedPathError(
            "the host reported facts with the names of variables ({})".format(", ".join(map(quote_path, found[:5])))
        )
