# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: role_variables
short_description: What is wrong with the variables of this collection's roles
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Checks the values of the roles' variables for the types of the argument specifications and for what types cannot say, all of them in
    one go. Those that are not defined where it is called are left out.
  - The roles call it before they change anything.
options:
  _terms:
    description: Names of roles besides sdops. All roles of the collection when none is given.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Check the variables of one role
  ansible.builtin.assert:
    that: lookup('sdops.webui.role_variables', 'webui_service').errors | length == 0
"""

RETURN = r"""
_raw:
  description: One mapping.
  type: list
  elements: dict
  contains:
    errors:
      description: A sentence for each variable that cannot be used. Values of secrets are not in them.
      type: list
      elements: str
      sample: ["sdops_home is \"opt\"; it must be an absolute path on the target."]
    stripped:
      description: >-
        By name, the values that have spaces or line breaks around them, without these (secrets too, where
        C(ansible-vault encrypt_string) got them from a pipe).
      type: dict
      sample: {sdops_cache_dir: /root/autodl-fs/cache}
"""

import re
from typing import Any, Mapping

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ..module_utils.terminal import printable
from ..module_utils.variables.cross_variable import cross_variable_errors
from ..module_utils.variables.validation import stripped_values, unstripped_error, value_errors
from ..plugin_utils.role_options import role_options

# what the rules of other roles need to know
CROSS_ROLE_VARIABLES = ("sd_webui_version",)


def root_cause(exc: BaseException) -> str:
    """The sentence at the end of a chain of template errors."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return printable(str(getattr(exc, "message", None) or exc).strip())


def referenced_variables(name: str, variables: Mapping[str, Any]) -> set[str]:
    """The variables that the templates behind a variable name, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        text = str(variables.get(waiting.pop(), ""))
        words = set(re.findall(r"\w+", text)) if "{{" in text or "{%" in text else set()
        new = {word for word in words if word in variables} - found
        found |= new
        waiting.extend(new)
    return found - {name}


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        specs = role_options(["sdops", *terms] if terms else [])
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name in [*specs, *CROSS_ROLE_VARIABLES]:
            if name in variables:
                try:
                    values[name] = self._templar.template(variables[name])
                except AnsibleError as exc:
                    wrong[name] = "{} cannot be worked out: {}. Correct its template.".format(
                        name, root_cause(exc).rstrip(".")
                    )
        stripped = stripped_values(values, specs)
        values.update(stripped)
        wrong.update(value_errors(values, specs))
        # what is derived from a wrong one is not reported as well, unless they are made of each other
        reported = {name: why for name, why in wrong.items() if name in specs}
        independent = [why for name, why in reported.items() if not referenced_variables(name, variables) & set(wrong)]
        errors = independent or list(reported.values())
        errors += cross_variable_errors({name: value for name, value in values.items() if name not in wrong})
        errors += [why for name in stripped for why in [unstripped_error(name)] if why and name not in wrong]
        return [{"errors": errors, "stripped": stripped}]
