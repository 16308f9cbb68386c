# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers send instead of a file: login and error pages, XML errors of storages, git-lfs pointers."""

from __future__ import annotations

import re

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
BLANK = b"\xef\xbb\xbf \t\r\n"
HTML_PAGE = re.compile(rb"<(!doctype html|html|head|body|script)[\s>]", re.IGNORECASE)


def describe_error_page(head: bytes) -> str | None:
    """What a server sent instead of any file, as the end of a sentence; None if nothing known."""
    text = head.lstrip(BLANK)
    low = text[:200].lower()
    if HTML_PAGE.match(text):
        return "it is a web page, most likely one that asks for a login or reports an error; check address and token"
    if low.startswith((b"<?xml", b"<error")):
        return "it is an XML answer of a server, most likely to an expired address; fetch it again"
    if low.startswith(LFS_POINTER):
        return "it is a git-lfs pointer and not the file; fetch it with git lfs, or from an address with /resolve/"
    return None
