# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of others on its way to a terminal: what would move the cursor, turn the text around or begin a line is taken out."""

from __future__ import annotations

import unicodedata

# Unicode's general categories of what is not seen but acted upon: controls (C0, C1), formats (bidirectional ones), lone
# surrogates, separators of lines and paragraphs. Source: Unicode Standard Annex 44, table 12
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def is_unseen(character: str) -> bool:
    """Whether a terminal would act upon ``character``, or show nothing for it."""
    return unicodedata.category(character) in UNSEEN


def has_unseen(text: str) -> bool:
    return any(map(is_unseen, text))


def printable(text: str) -> str:
    """``text`` as one line: white space of any kind becomes a space, and what a terminal acts upon a question mark."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
