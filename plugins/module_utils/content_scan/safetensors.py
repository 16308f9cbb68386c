# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a file a whole safetensors file? https://github.com/huggingface/safetensors (format section).

The header is read by a parser of its own and not by ``json``: it knows exactly the few shapes that may stand there, sees
repeated names, and a hostile header cannot make it build objects without end.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import struct
from typing import Iterator

from ..errors import ContentError

MAX_HEADER = 100_000_000  # the format's own limit
MAX_TENSORS = 100_000
MAX_JSON_DEPTH = 32  # of what stands in a field that the format does not know
MAX_TENSOR_NAME = 4096
DTYPE_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
JSON_SPACE = re.compile(rb"[ \t\r\n]*")
# A piece of a JSON string up to its quote; in pieces, as a repetition takes memory. Nothing behind it can fail.
STRING_CHUNK = re.compile(rb'(?:[^"\\\x00-\x1f]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){0,1000}')
DTYPE_NAME = re.compile(rb'"([A-Z0-9_]{1,24})"')
JSON_ATOM = re.compile(rb"null|true|false|-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,10})?")
_DECIMAL = rb"(?:0|[1-9][0-9]{0,18})[ \t\r\n]{0,99}"
NUMBER_LIST = re.compile(rb"\[[ \t\r\n]{0,99}((?:%s(?:,[ \t\r\n]{0,99}(?=[0-9])|(?=\]))){0,64})\]" % _DECIMAL)


class SafetensorsHeader:
    """A cursor over the raw header. Raises ValueError, with the place, where something else should stand."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def wrong(self, what: str) -> ValueError:
        return ValueError(f"{what} at byte {self.at}")

    def skip(self) -> None:
        self.at = JSON_SPACE.match(self.raw, self.at).end()  # type: ignore[union-attr]

    def next_is(self, character: bytes) -> bool:
        """Whether ``character`` is next, white space aside; it is taken if so."""
        self.skip()
        if self.raw[self.at : self.at + 1] != character:
            return False
        self.at += 1
        return True

    def expect(self, character: bytes) -> None:
        if not self.next_is(character):
            raise self.wrong(f"{character.decode()} is missing")

    def string(self) -> tuple[int, int]:
        """Begin and end of the JSON string that is next, with its quotes."""
        self.skip()
        begin = self.at
        self.expect(b'"')
        while True:
            piece = STRING_CHUNK.match(self.raw, self.at).end()  # type: ignore[union-attr]
            if self.raw[piece : piece + 1] == b'"':
                self.at = piece + 1
                return begin, self.at
            if piece == self.at:
                raise self.wrong("a text is malformed")
            self.at = piece

    def key(self) -> str:
        begin, end = self.string()
        if end - begin > MAX_TENSOR_NAME:
            raise self.wrong("a name is too long")
        name = json.loads(self.raw[begin:end].decode("utf-8"))
        self.expect(b":")
        self.skip()
        return name

    def fields(self) -> Iterator[str]:
        """Every key of the object that is next, each once; the caller takes its value before it asks for another."""
        seen: set[str] = set()
        self.expect(b"{")
        if self.next_is(b"}"):
            return
        while True:
            name = self.key()
            if name in seen:
                raise self.wrong(f"the name {name!r:.80} stands there twice")
            if len(seen) > MAX_TENSORS:
                raise self.wrong(f"there are more than {MAX_TENSORS} names")
            seen.add(name)
            yield name
            if self.next_is(b"}"):
                return
            self.expect(b",")

    def value(self, depth: int = MAX_JSON_DEPTH) -> None:
        """Pass over any JSON value."""
        self.skip()
        first = self.raw[self.at : self.at + 1]
        if first in (b"{", b"[") and not depth:
            raise self.wrong("something is nested too deep")
        if first == b'"':
            self.string()
        elif first == b"{":
            for _name in self.fields():
                self.value(depth - 1)
        elif self.next_is(b"["):
            if self.next_is(b"]"):
                return
            while True:
                self.value(depth - 1)
                if self.next_is(b"]"):
                    return
                self.expect(b",")
        else:
            found = JSON_ATOM.match(self.raw, self.at)
            # a number that no float holds is none for the library either
            if not found or (found.group()[-1:].isdigit() and math.isinf(float(found.group()))):
                raise self.wrong("a value is malformed")
            self.at = found.end()

    def numbers(self) -> list[int]:
        found = NUMBER_LIST.match(self.raw, self.at)
        if not found:
            raise self.wrong("a list of sizes is malformed")
        self.at = found.end()
        return [int(number) for number in found.group(1).replace(b",", b" ").split()]

    def null(self) -> bool:
        """Whether ``null`` is next; it is taken if so."""
        found = self.raw[self.at : self.at + 4] == b"null"
        self.at += 4 if found else 0
        return found

    def dtype(self) -> str:
        found = DTYPE_NAME.match(self.raw, self.at)
        if not found:
            raise self.wrong("a type is malformed")
        self.at = found.end()
        return found.group(1).decode()


def _parse_tensor(header: SafetensorsHeader, name: str) -> tuple[int, int]:
    """Where the tensor lies in the data; its size is checked against type and shape."""
    parts = set()
    dtype, shape, offsets = "", [], []
    for part in header.fields():
        parts.add(part)
        if part == "dtype":
            dtype = header.dtype()
        elif part == "shape":
            shape = header.numbers()
        elif part == "data_offsets":
            offsets = header.numbers()
        else:
            header.value()  # the format's own library passes over it
    if not parts >= {"dtype", "shape", "data_offsets"} or len(offsets) != 2:
        raise header.wrong(f"the tensor {name!r:.80} is incomplete")
    begin, end = offsets
    bits = DTYPE_BITS.get(dtype)
    for length in shape:
        bits = bits * length if bits is not None else None
    if end < begin or (bits is not None and bits != (end - begin) * 8):
        raise header.wrong(f"the tensor {name!r:.80} does not add up")
    return begin, end


def _list_tensor_spans(raw: bytes) -> list[tuple[int, int]]:
    """Where the header says the tensors lie, sorted. Raises ValueError."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for position in range(0, len(raw), 1 << 20):
        decoder.decode(raw[position : position + (1 << 20)])
    decoder.decode(b"", final=True)
    header = SafetensorsHeader(raw)
    if not raw.startswith(b"{"):
        raise header.wrong("{ is missing")
    places = []
    for name in header.fields():
        if name != "__metadata__":
            places.append(_parse_tensor(header, name))
            continue
        if header.null():
            continue
        for _key in header.fields():
            header.string()
    header.skip()
    if header.at != len(raw):
        raise header.wrong("something follows the header")
    return sorted(places)


def check_safetensors(path: str) -> None:
    """Raise ContentError unless header, tensors and file size agree to the byte. Reads the header only."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        head = handle.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        # a text read as a length is far larger than any file, so a web page ends here too
        if length < 2 or length > size - 8:
            raise ContentError("it is no safetensors file, or it is cut off")
        if length > MAX_HEADER:
            raise ContentError(f"its safetensors header has {length} bytes; more than {MAX_HEADER} are refused")
        raw = handle.read(length)
    try:
        places = _list_tensor_spans(raw)
    except ValueError as exc:
        raise ContentError(f"its safetensors header cannot be read ({exc})") from exc
    end = 0
    for begin, stop in places:
        if begin != end:
            raise ContentError("its safetensors header does not add up: its tensors overlap or leave gaps")
        end = stop
    if 8 + length + end != size:
        raise ContentError(f"its safetensors header promises {8 + length + end} bytes, but it has {size}")
