# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every variable of every role must be: the type of its argument specification, and what types cannot say.

All mistakes in one go, before the first change, as sentences that name the variable. Values of secrets are never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..terminal import printable
from ..urls import format_value
from .cross_variable import cross_variable_errors, model_entry_errors
from .rules import CHECKS, SECRET_NAMES, STRIPPED_BY_ROLES
from .value_types import strip_value, type_error


def value_errors(values: Mapping, specs: Mapping) -> dict[str, str]:
    """By name, a sentence for each of ``values`` that cannot be used for its own sake.

    ``specs``: the options of the roles' argument specifications. Names that are not among them are not looked at.
    """
    wrong: dict[str, str] = {}
    for name, spec in specs.items():
        # a proxy that is not wanted needs no server
        idle = (
            name.startswith("xray_proxy_") and name != "xray_proxy_state" and values.get("xray_proxy_state") == "absent"
        )
        if name not in values or idle:
            continue
        why = type_error(name, spec, values[name]) or CHECKS.get(name, lambda value: "")(values[name])
        if why:
            subject = name if SECRET_NAMES.match(name) else f"{name} is {format_value(values[name])}; it"
            wrong[name] = printable(f"{subject} {why}.")
    return wrong


def variable_errors(values: Mapping, specs: Mapping) -> list[str]:
    """A sentence for each of ``values`` (by the variables' names) that cannot be used; none when all can."""
    wrong = value_errors(values, specs)
    good = {name: value for name, value in values.items() if name not in wrong}
    return [*wrong.values(), *cross_variable_errors(good, model_entry_errors(good))]


def stripped_values(values: Mapping, specs: Mapping) -> dict[str, Any]:
    """Those of ``values`` that have spaces or line breaks around them, without these."""
    clean = {name: strip_value(name, specs[name], values[name]) for name in specs if name in values}
    return {name: value for name, value in clean.items() if value is not values[name]}


def unstripped_error(name: str) -> str:
    """A sentence for a variable of that name that could not be stripped, unless that does not matter."""
    if STRIPPED_BY_ROLES.match(name):
        return ""
    return f"{name} has spaces or a line break around its value, and given with -e it stays so; take them away."
