# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: failure_message
short_description: The cause of a failed task in one sentence
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - For a C(rescue), takes the result of the task that failed and returns what it says. Of a command that is what it said at its end,
    instead of C(non-zero return code), of a C(validate) what the check said, and of a loop what those of its items say that failed.
  - Logins in URLs are left out.
positional: _input, task
options:
  _input:
    description: The result, C(ansible_failed_result) in a rescue.
    type: dict
    required: true
  task:
    description: Name of the task. With it, a sentence that only quotes a command tells where the rest of its output is.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Tell why it failed
  ansible.builtin.fail:
    msg: "{{ ansible_failed_result | sdops.webui.failure_message(ansible_failed_task.name) }}"
"""

RETURN = r"""
_value:
  description: The cause.
  type: str
  sample: >-
    apt-get install ended with 100: Unable to locate package libfoo. All that it said is above, at "Install the missing packages".
"""

from typing import Any, Callable

from ..module_utils.failures import failure_message


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"failure_message": failure_message}
