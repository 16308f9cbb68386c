# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and hashes that come from the network and end up in paths."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import unquote_to_bytes

from ..terminal import is_unseen

MAX_NAME_BYTES = 255  # bytes, on the file systems of Linux
# a parameter of a header, and what lies between them: RFC 6266, section 4.1; unquoted values may have spaces here
_PARAMETER = re.compile(r'([^=;\s"]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)|"(?:[^"\\]|\\.)*"?|[^;"\s]+')
_EXTENDED = re.compile(r"([\w!#$%&+^`{}~-]+)'[^']*'(.*)", re.DOTALL)  # RFC 5987, section 3.2.1


def parse_hex_digits(value: Any, count: int) -> str | None:
    """``value`` in lower case if it is a hash of exactly ``count`` hex digits; None if it is anything else."""
    whole = isinstance(value, str) and re.fullmatch(f"[0-9a-fA-F]{{{count}}}", value)
    return str(value).lower() if whole else None


def sanitize_name(name: str) -> str:
    """A plain file name from an untrusted one: last path part, no control, format or reserved characters, at most 255 bytes.

    "" when nothing is left; whoever needs a name asks the user for it.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode()))[-1]
    last = "".join("_" if c in '<>:"|?*' or is_unseen(c) else c for c in last).strip(" .")
    stem, dot, extension = last.rpartition(".")
    max_stem_bytes = MAX_NAME_BYTES - len((dot + extension).encode())
    if dot and max_stem_bytes > 0:
        return stem.encode()[:max_stem_bytes].decode("utf-8", "ignore") + dot + extension
    return last.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def parse_disposition_name(header: str) -> str:
    """The file name in a Content-Disposition header, decoded; "" when it has none. ``filename*`` wins over ``filename``.

    Servers leave out the quotes of names with spaces, and the end of quotes.
    """
    found = {}
    for name, value in _PARAMETER.findall(header):
        if name and name.lower() not in found:
            found[name.lower()] = value.strip()
    extended = _EXTENDED.fullmatch(found.get("filename*", "").strip('"'))
    if extended:
        try:
            return unquote_to_bytes(extended.group(2)).decode(extended.group(1))
        except (LookupError, UnicodeError):
            pass  # an encoding that nobody knows, or another one than it says: the plain name is for that
    plain = found.get("filename", "")
    if plain.startswith('"'):
        plain = re.sub(r'\\(["\\])', r"\1", plain[1:-1] if len(plain) > 1 and plain.endswith('"') else plain[1:])
    if plain.startswith("=?"):  # as in mails (RFC 2047), which browsers understand
        with contextlib.suppress(ValueError, LookupError, MessageError):
            return str(make_header(decode_header(plain))).strip()
    return plain.strip()
