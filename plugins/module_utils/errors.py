# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one base of every error the collection raises on purpose."""

from __future__ import annotations

from .terminal import printable


class SdopsError(Exception):
    """A failure we can explain: a full sentence naming the object, the cause and what to do next.

    Packages under ``module_utils`` raise subclasses; each module's ``main()`` catches this class once and
    turns it into ``fail_json``. Anything else that escapes is a defect and keeps its traceback.

    Servers and files have a say in most messages, so ``str()`` gives one line without anything that a terminal acts upon.
    ``details`` (the end of a log, for instance) follow it, each line indented, so that none can pass for a line of Ansible's.
    """

    def __init__(self, message: str = "", details: str = "") -> None:
        super().__init__(message)
        self.details = details

    def __str__(self) -> str:
        return "\n    ".join([printable(super().__str__()), *map(printable, self.details.splitlines())])
