"""PNG files with text chunks, written and read with zlib alone."""

from __future__ import annotations

import struct
import zlib
from typing import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text_chunk(key: str, text: str) -> bytes:
    """tEXt where Latin-1 can hold the text, else iTXt (what Pillow does)."""
    try:
        return _chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf8"))


def encode(width: int, height: int, rows: Iterator[bytes], texts: dict[str, str]) -> bytes:
    """A PNG of 8-bit RGB ``rows`` (``3 * width`` bytes each)."""
    packer = zlib.compressobj(6)
    body = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [_chunk(b"IHDR", head), *(_text_chunk(*item) for item in texts.items()), _chunk(b"IDAT", body)]
    return SIGNATURE + b"".join(parts) + _chunk(b"IEND", b"")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of each chunk; ValueError when the file is no whole PNG."""
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG file")
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        check = data[position + 8 + length : position + 12 + length]
        if len(check) < 4 or struct.unpack(">I", check)[0] != zlib.crc32(kind + body):
            raise ValueError(f"damaged {kind.decode('latin-1')} chunk")
        yield kind, body
        position += 12 + length
        if kind == b"IEND":
            return
    raise ValueError("the file ends before IEND")


def texts(data: bytes) -> dict[str, str]:
    found = {}
    for kind, body in chunks(data):
        key, _, rest = body.partition(b"\0")
        if kind == b"tEXt":
            found[key.decode("latin-1")] = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            found[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[2].decode("utf8")
    return found
