"""big.lab.test: files of any size that nobody stores. ``/NAME-BYTES-SEED.EXT``, for example /zeros-7000000000-a.safetensors.

One mebibyte of noise is made from the seed and sent repeatedly, rotated by another offset each time: no two pieces are
alike (below 1 TiB), so that a piece in the wrong place is found by its hash. ``.safetensors`` has a header that adds up.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from ..web import Request, Response, Slice, content_response, text

BLOCK = 1 << 20
TURN = 7919  # odd: as many angles as the block has bytes
NAME = re.compile(r"/?(?:[^/]*-)?(\d+)-(\w+)\.(\w+)")


@lru_cache(maxsize=8)
def _twice(seed: str) -> memoryview:
    """The block of a seed, two times in a row: every turn of it is one piece of this."""
    return memoryview(hashlib.shake_256(f"sdops lab big {seed}".encode()).digest(BLOCK) * 2)


@lru_cache(maxsize=64)
def _head(size: int, extension: str) -> bytes:
    """What the file begins with: for safetensors, a header for one tensor that fills the rest."""
    if extension != "safetensors":
        return b""
    length = 256
    if size < 8 + length:
        raise ValueError(f"a safetensors file of the lab has at least {8 + length} bytes, not {size}")
    rest = size - 8 - length
    header = {"lab.fake.weight": {"dtype": "U8", "shape": [rest], "data_offsets": [0, rest]}}
    return struct.pack("<Q", length) + json.dumps(header, separators=(",", ":")).encode().ljust(length)


@dataclass
class BigSlice(Slice):
    head: bytes
    seed: str

    def chunks(self) -> Iterator[memoryview]:
        position, end = self.start, self.start + self.length
        block = _twice(self.seed)
        while position < end:
            if position < len(self.head):
                piece = memoryview(self.head)[position:end]
            else:
                number, offset = divmod(position - len(self.head), BLOCK)
                turned = number * TURN % BLOCK
                stop = min(BLOCK, offset + end - position)
                piece = block[turned + offset : turned + stop]
            yield piece
            position += len(piece)


@dataclass(frozen=True)
class Big:
    """Content for a lab server: ``size`` bytes from ``seed``. Takes a mebibyte of memory, whatever its size."""

    size: int
    seed: str = "0"
    extension: str = "safetensors"

    def slice(self, start: int, length: int) -> BigSlice:
        return BigSlice(start, length, _head(self.size, self.extension), self.seed)

    def sha256(self) -> str:
        return big_sha256(self.size, self.seed, self.extension)


@lru_cache(maxsize=64)
def big_sha256(size: int, seed: str = "0", extension: str = "safetensors") -> str:
    """SHA-256 of a big file, in hex; about a second for each GB, once."""
    digest = hashlib.sha256()
    for piece in Big(size, seed, extension).slice(0, size).chunks():
        digest.update(piece)
    return digest.hexdigest()


def big_path(size: int, seed: str = "0", extension: str = "safetensors", name: str = "zeros") -> str:
    """The path of a big file on its host."""
    return f"/{quote(name)}-{size}-{seed}.{extension}"


class BigHost:
    """Answers with ETag and ranges, to GET and HEAD, and requires no token."""

    def handle(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return text(405, "Method Not Allowed", Allow="GET, HEAD")
        match = NAME.fullmatch(request.path)
        if match is None:
            return text(404, "big.lab.test (lab fake): request /NAME-BYTES-SEED.EXT\n")
        big = Big(int(match[1]), match[2], match[3])
        return content_response(request, big, {"ETag": f'"big-{big.size}-{big.seed}"'})
