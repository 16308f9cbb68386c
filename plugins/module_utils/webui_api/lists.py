# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of models that a running WebUI has: it reads its directories when it starts, and when it is told to."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import WebuiError, WebuiStatusError
from .client import Webui


class ListRoutes(NamedTuple):
    """Names below /sdapi/v1: what refreshes a list, what shows it, and the field that names a member ("" for a mapping of names)."""

    refresh: str
    show: str
    field: str


# by the kind of models (AUTOMATIC1111 1.10.1, modules/api/api.py and extensions-builtin/Lora/scripts/lora_script.py)
LISTS = {
    "checkpoint": ListRoutes("refresh-checkpoints", "sd-models", "filename"),
    "embedding": ListRoutes("refresh-embeddings", "embeddings", ""),
    "lora": ListRoutes("refresh-loras", "loras", "path"),
    "vae": ListRoutes("refresh-vae", "sd-vae", "filename"),
}


class RefreshResult(NamedTuple):
    """Members of the lists before and after, as "KIND NAME", sorted; ``problems``: sentences on lists that were not refreshed."""

    before: list[str]
    after: list[str]
    problems: list[str]


def refresh_lists(webui: Webui, kinds: list[str], timeout: float) -> RefreshResult:
    """Let the WebUI read the directories of ``kinds`` again. One that generates answers when it has finished: ``timeout`` in seconds."""
    before: list[str] = []
    after: list[str] = []
    problems = []
    for kind in sorted(set(kinds)):
        try:
            known = read_list(webui, kind)
            before += known
            after += known
            _refresh(webui, kind, timeout)
            after[len(after) - len(known) :] = read_list(webui, kind)
        except WebuiError as exc:
            problems.append(f"The WebUI did not refresh its list of {kind} models: {exc}")
    return RefreshResult(before, after, problems)


def read_list(webui: Webui, kind: str) -> list[str]:
    """The members of a list, sorted. Raises WebuiError."""
    routes = LISTS[kind]
    found: Any = webui.request(f"/sdapi/v1/{routes.show}")
    if routes.field:
        names = [member.get(routes.field) for member in found]
    else:
        names = [name for part in found.values() for name in part]
    return sorted(f"{kind} {name}" for name in names)


def _refresh(webui: Webui, kind: str, timeout: float) -> None:
    try:
        webui.request(f"/sdapi/v1/{LISTS[kind].refresh}", {}, timeout=timeout)
    except WebuiStatusError as exc:
        # embeddings belong to a loaded model, and are read with it: without one the WebUI answers 500
        if kind != "embedding" or exc.status != 500:
            raise
