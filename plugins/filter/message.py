# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: message
short_description: A text of the catalog of messages, in the language of the user
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Looks up what the playbooks say at their end, in English or Chinese. All further options are the fields of the text.
positional: _input, language
options:
  _input:
    description: The key of the text.
    type: str
    required: true
  language:
    description: Language of the text; V(auto) is that of the locale of the controller, and English where that is another one.
    type: str
    choices: [auto, en, zh]
    default: auto
"""

EXAMPLES = r"""
- name: Report the result
  ansible.builtin.debug:
    msg: "{{ 'webui_started' | sdops.webui.message(sdops_language, host=inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
  sample: The WebUI of autodl1 runs.
"""

from typing import Any, Callable

from ..plugin_utils.messages import message


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"message": message}
