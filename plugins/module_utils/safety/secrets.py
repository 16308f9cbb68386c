# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secrets out of what Ansible prints, on every version of it."""

from __future__ import annotations

from typing import Any, Iterable

try:  # ansible-core 2.22 and later mask registered values everywhere
    from ansible.module_utils.secrets import register_secret
except ImportError:
    register_secret = None


def hide(module: Any, values: Iterable[str]) -> None:
    """Mask ``values`` in the results and logs of an AnsibleModule."""
    for value in values:
        module.no_log_values.add(value)
        if register_secret is not None:
            register_secret(value)
