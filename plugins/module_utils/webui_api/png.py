# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this a whole PNG, and what does its infotext say? (PNG specification, W3C, 2003)"""

from __future__ import annotations

import re
import struct
import zlib

from ..errors import PngError

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_text(data: bytes) -> dict[str, str]:
    """Check signature, chunks, CRCs and IEND; return the text chunks (keyword to text)."""
    if not data.startswith(SIGNATURE):
        raise PngError(f"The image is no PNG: it starts with {data[:8]!r}.")
    texts: dict[str, str] = {}
    offset, seen = len(SIGNATURE), []
    while offset + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[offset : offset + 8])
        body = data[offset + 8 : offset + 8 + length]
        crc = data[offset + 8 + length : offset + 12 + length]
        if len(crc) != 4 or struct.unpack(">I", crc)[0] != zlib.crc32(kind + body) & 0xFFFFFFFF:
            raise PngError("The PNG is damaged or cut off in its {} chunk.".format(kind.decode("latin-1")))
        seen.append(kind)
        if kind == b"tEXt":
            keyword, _nul, text = body.partition(b"\0")
            texts[keyword.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"iTXt":
            keyword, _nul, rest = body.partition(b"\0")
            compressed, text = rest[0], rest[2:].split(b"\0", 2)[2]
            texts[keyword.decode("latin-1")] = (zlib.decompress(text) if compressed else text).decode("utf-8")
        elif kind == b"IEND":
            break
        offset += 12 + length
    if b"IEND" not in seen or b"IDAT" not in seen:
        raise PngError("The PNG ends without its last chunk.")
    return texts


def parse_infotext(text: str) -> dict[str, str]:
    """The WebUI's infotext: prompt lines, "Negative prompt: ...", and a last line of "Key: value" pairs."""
    lines = text.strip().split("\n")
    pairs = dict(re.findall(r'\s*([\w ]+): ("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', lines[-1])) if lines else {}
    head = "\n".join(lines[:-1])
    prompt, _label, negative = (
        head.partition("\nNegative prompt: ") if "\nNegative prompt: " in head else (head, "", "")
    )
    return {**{k.strip(): v for k, v in pairs.items()}, "prompt": prompt.strip(), "negative_prompt": negative.strip()}
