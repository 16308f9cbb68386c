# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: variable_errors
short_description: What is wrong with values for variables of the roles
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Checks values of the roles' variables, and returns a sentence for each that cannot be used. The lookup
    P(sdops.webui.role_variables#lookup) does this with those that a play has.
options:
  _input:
    description: Values by the names of the variables. Other names are not looked at.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check a directory
  ansible.builtin.assert:
    that: "{'sdops_home': sdops_home} | sdops.webui.variable_errors | length == 0"
"""

RETURN = r"""
_value:
  description: Sentences, none when all is well.
  type: list
  elements: str
  sample: ["sdops_home is \"opt\"; it must be an absolute path on the target."]
"""

from typing import Any, Callable

from ..module_utils.variables.validation import variable_errors
from ..plugin_utils.role_options import role_options


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        def errors(values: dict[str, Any]) -> list[str]:
            return variable_errors(values, role_options())

        return {"variable_errors": errors}
