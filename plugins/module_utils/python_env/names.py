# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of distributions. Light to import: some modules spend half of their time on that."""

from __future__ import annotations

import re


def normalize_name(name: str) -> str:
    """Name of a distribution as the index spells it: ``Foo_Bar`` -> ``foo-bar`` (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()
