# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is raised for a file whose content must not be used."""

from __future__ import annotations

from ..errors import SdopsError


class ContentError(SdopsError):
    """A file whose content must not be used."""


class UnsafeError(ContentError):
    """One that may be whole, and even wanted by whoever put it there."""
