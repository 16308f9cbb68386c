# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: binary_size
short_description: A number of bytes in units of 1024
version_added: 0.1.0
author: The sdops.webui authors (!UNKNOWN)
description:
  - Writes a number of bytes with one decimal in KiB, MiB, GiB or TiB. P(ansible.builtin.human_readable#filter) calls the same units KB to TB.
positional: _input
options:
  _input:
    description: Bytes.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Report the free space
  ansible.builtin.debug:
    msg: "{{ 53687091200 | sdops.webui.binary_size }}"
"""

RETURN = r"""
_value:
  description: The size.
  type: str
  sample: 50.0 GiB
"""

from typing import Any, Callable

from ..plugin_utils.progress_view import size


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"binary_size": size}
