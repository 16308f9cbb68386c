# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one base of every error the collection raises on purpose."""

from __future__ import annotations


class SdopsError(Exception):
    """A failure we can explain: a full sentence naming the object, the cause and what to do next.

    Rooms under ``module_utils`` raise subclasses; each module's ``main()`` catches this class once and
    turns it into ``fail_json``. Anything else that escapes is a defect and keeps its traceback.
    """
