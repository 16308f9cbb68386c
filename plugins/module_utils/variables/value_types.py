# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types, as the roles' argument specifications name them, and the spaces around values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..xray import share_link
from .checks import list_error, text_error
from .rules import MINIMUMS, SECRET_NAMES, UNSTRIPPED_NAMES

BOOLEAN_WORDS = (
    "yes",
    "no",
    "on",
    "off",
    "true",
    "false",
    "y",
    "n",
    "t",
    "f",
    "1",
    "0",
    "1.0",
    "0.0",
)  # as Ansible reads them


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        number = int(value) if whole and isinstance(value, str) else float(value)
        return math.isfinite(number) and (not whole or number == int(number))
    except (ValueError, OverflowError):
        return False


def type_error(name: str, spec: Mapping, value: Any) -> str:
    """What is wrong with the type of ``value``, or nothing. ``spec``: one option of an argument specification."""
    kind = spec.get("type", "str")
    if kind == "raw":
        return ""
    if kind == "list":
        if not isinstance(value, list):
            return list_error("" if SECRET_NAMES.match(name) else value)
        element = {"type": spec.get("elements", "raw"), "options": spec.get("options")}
        wrong = [
            f"number {number} {why}"
            for number, each in enumerate(value, 1)
            for why in [type_error(name, element, each)]
            if why
        ]
        return "has an entry that cannot be used: " + "; ".join(wrong) if wrong else ""
    if kind == "dict":
        if not isinstance(value, Mapping):
            return "must be a mapping of names to values; write it as {name: value}"
        missing = [
            key for key, one in (spec.get("options") or {}).items() if one.get("required") and not value.get(key)
        ]
        return "needs {}".format(" and ".join(missing)) if missing else ""
    if kind == "bool":
        return "" if str(value).strip().lower() in BOOLEAN_WORDS else "must be true or false"
    if kind in ("int", "float"):
        if not _is_number(value, kind == "int"):
            return "must be a whole number" if kind == "int" else "must be a number"
        least = MINIMUMS.get(name)
        return f"must be {least} or more" if least is not None and not float(value) >= least else ""
    if not isinstance(value, (str, int, float)):
        return 'must be a text; write "" for none' if value is None else "must be a text"
    if spec.get("choices") and not _is_choice(value, spec["choices"]):
        return "must be {}".format(" or ".join('""' if choice == "" else str(choice) for choice in spec["choices"]))
    return "" if UNSTRIPPED_NAMES.match(name) else text_error(str(value))


def _is_choice(value: Any, choices: list[Any]) -> bool:
    known = [str(choice) for choice in choices]
    return str(value) in known or (isinstance(value, bool) and str(value).lower() in known)


def strip_value(name: str, spec: Mapping, value: Any) -> Any:
    """``value`` without the spaces and line breaks around it, where none belong to it; entries of lists too."""
    if UNSTRIPPED_NAMES.match(name):
        return value
    if isinstance(value, str) and spec.get("type", "str") not in ("raw", "list", "dict"):
        text = value.strip().strip(share_link.INVISIBLE_CHARACTERS).strip()
        return value if text == value else text
    if isinstance(value, list) and spec.get("type") == "list":
        entries = [strip_value(name, {"type": spec.get("elements", "raw")}, each) for each in value]
        return value if entries == value else entries
    return value
