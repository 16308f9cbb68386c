# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the collection's roles: options, as their argument specifications have them, and what is derived from them."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Iterable

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


def role_options(roles: Iterable[str] = ()) -> dict[str, Any]:
    """``{name of a variable: {"type": ..., ...}}`` of the roles; of all where none is named."""
    found: dict[str, Any] = {}
    for role in roles or sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml")):
        found.update(_read_options(ROLES / role / "meta" / "argument_specs.yml"))
    return found


@functools.lru_cache(maxsize=None)
def _read_options(path: Path) -> dict[str, Any]:
    specs = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return dict(specs["argument_specs"]["main"]["options"])


def derived_variables() -> set[str]:
    """Names of the variables that the shared role works out (``vars/main.yml``): they are there for all roles, and nobody sets them."""
    text = (ROLES / "sdops" / "vars" / "main.yml").read_text(encoding="utf-8")
    return {name for name in re.findall(r"(?m)^(\w+):", text) if not name.startswith("_")}
