# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the collection's roles, as their argument specifications have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


def role_options(roles: Iterable[str] = ()) -> dict[str, Any]:
    """``{name of a variable: {"type": ..., ...}}`` of the roles; of all where none is named."""
    found: dict[str, Any] = {}
    for role in roles or sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml")):
        text = (ROLES / role / "meta" / "argument_specs.yml").read_bytes()
        specs = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        found.update(specs["argument_specs"]["main"]["options"])
    return found
