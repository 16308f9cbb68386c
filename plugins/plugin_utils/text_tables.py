# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of text for a terminal, in any language."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

LABEL_WIDTH = 12  # columns


def display_width(text: str) -> int:
    """Columns that a terminal needs: two for a wide character of East Asia. Source: Unicode Standard Annex 11."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def render_table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with the cells of each row below each other; the last column has no width."""
    widths = [max(map(display_width, column)) for column in zip(*rows)][:-1]
    return [
        "  ".join([*(cell + " " * (width - display_width(cell)) for cell, width in zip(row, widths)), row[-1]]).rstrip()
        for row in rows
    ]


def label_line(label: str, text: str) -> str:
    """``text`` behind its label, in a column of its own."""
    return f"{label}:" + " " * max(1, LABEL_WIDTH - display_width(label)) + text
