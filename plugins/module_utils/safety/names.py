# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and hashes that come from the network and end up in paths."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Optional

from ..errors import SdopsError
from ..terminal import is_unseen


def hex_digits(value: Any, count: int) -> Optional[str]:
    """``value`` in lower case if it is a hash of exactly ``count`` hex digits; None if it is anything else."""
    whole = isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{%d}" % count, value)
    return str(value).lower() if whole else None


def safe_name(name: str) -> str:
    """A plain file name from an untrusted one: last path part, no control, format or reserved characters, at most 200 bytes.

    Raises SdopsError when nothing is left.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode()))[-1]
    last = "".join("_" if c in '<>:"|?*' or is_unseen(c) else c for c in last).strip(" .")
    stem, dot, extension = last.rpartition(".")
    room = 200 - len((dot + extension).encode())
    if dot:
        last = stem.encode()[:room].decode("utf-8", "ignore") + dot + extension
    else:
        last = last.encode()[:200].decode("utf-8", "ignore")
    if not last or last in (".", ".."):
        raise SdopsError("The server's file name %r cannot be used; set name." % name)
    return last
