# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of wanted models before their sources are asked: from the entries themselves and from the catalog."""

from __future__ import annotations

import posixpath
from typing import Any, Iterable, NamedTuple
from urllib.parse import unquote, urlsplit

from ..content_scan.sanitize import sanitize_name
from ..content_scan.scan import PICKLE_EXTENSIONS
from ..errors import LayoutError
from .layout import model_path
from .spec import DEFAULT_ENDPOINTS, Endpoints, ModelSpec, find_entry_problems, parse_model_entries


class ExpectedModel(NamedTuple):
    """``kind``, ``name`` and ``path`` are "" and ``size`` (bytes) is 0 where only the source knows them.

    ``source_id`` is that of ModelSpec, by which the record has what was installed.
    """

    source: str
    source_id: str
    kind: str
    name: str
    path: str
    size: int


def expected_name(spec: ModelSpec) -> str:
    """The file's name as far as it is known without asking the source, "" where it is not."""
    if spec.name:
        return spec.name
    if spec.origin == "url":
        return posixpath.basename(unquote(urlsplit(spec.locator["url"]).path))
    return posixpath.basename(spec.locator.get("file" if spec.origin == "huggingface" else "path", ""))


def list_expected_models(
    entries: Iterable[Any], webui_dir: str, endpoints: Endpoints = DEFAULT_ENDPOINTS
) -> list[ExpectedModel]:
    """One for each entry that can be understood and is to be there. ``path`` is absolute, below ``webui_dir``."""
    found = []
    for spec in parse_model_entries(entries, endpoints):
        if spec.problem or spec.absent:
            continue
        path = expected_path(spec, webui_dir)
        found.append(
            ExpectedModel(spec.label, spec.source_id, spec.kind or "", expected_name(spec), path, spec.size or 0)
        )
    return found


def expected_path(spec: ModelSpec, webui_dir: str) -> str:
    """Where the model will lie below ``webui_dir``, as far as it is known without asking the source, "" where it is not."""
    name = spec.name or sanitize_name(expected_name(spec))
    if not spec.kind or not name:
        return ""
    try:
        return model_path(webui_dir, spec.kind, name)
    except LayoutError:  # the module says so, when it has asked the source
        return ""


def find_model_problems(
    entries: Iterable[Any],
    endpoints: Endpoints = DEFAULT_ENDPOINTS,
    allow_pickle: bool = True,
    list_name: str = "model_fetch_models",
) -> list[str]:
    """A sentence for each entry that cannot be understood, or that names a pickle where none is allowed. Nothing is asked.

    ``list_name``: what the list is called in a sentence about an entry that has no source to be named by.
    """
    entries = list(entries)
    problems = find_entry_problems(entries, endpoints, list_name)
    if not allow_pickle:
        problems += [
            f"The model {spec.label} is a pickle, which can run code when it is loaded. Take a .safetensors if there is one, or set "
            "model_fetch_allow_pickle to true to have pickles scanned and accepted."
            for spec in parse_model_entries(entries, endpoints)
            if is_pickle(spec) and not spec.problem and not spec.trusted and not spec.absent
        ]
    return problems


def is_pickle(spec: ModelSpec) -> bool:
    """Whether the entry itself says that the file is a pickle."""
    return (
        spec.locator.get("format") == "PickleTensor"
        or posixpath.splitext(expected_name(spec))[1].lower() in PICKLE_EXTENSIONS
    )
