# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that share a cache of packages: one downloads and builds, the others wait and find it there."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import ContextManager

from ..filesystem import locked_if_possible

LOCK_FILE = ".sdops.lock"


def package_cache_lock(variable: str, environment: dict[str, str]) -> ContextManager[None]:
    """The lock of the cache that ``variable`` names, in ``environment`` or ours; nothing to wait for where there is none."""
    directory = environment.get(variable) or os.environ.get(variable)
    return locked_if_possible(os.path.join(directory, LOCK_FILE)) if directory else nullcontext()
