# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python's pickle opcodes, and the bytes that they are read from.

https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

from typing import BinaryIO

from ..errors import NotAPickleError

MAX_LINE = 4096


# --- opcodes: code -> (name, how its argument is written)

OPCODES: dict[int, tuple[str, str]] = {
    ord(code): (name, form)
    for form, entries in (
        (
            "none",
            {
                "(": "MARK", ".": "STOP", "0": "POP", "1": "POP_MARK", "2": "DUP", "N": "NONE", "R": "REDUCE",
                "Q": "BINPERSID", "a": "APPEND", "b": "BUILD", "d": "DICT", "}": "EMPTY_DICT", "e": "APPENDS",
                "l": "LIST", "]": "EMPTY_LIST", "o": "OBJ", "s": "SETITEM", "t": "TUPLE", ")": "EMPTY_TUPLE",
                "u": "SETITEMS", "\x81": "NEWOBJ", "\x85": "TUPLE1", "\x86": "TUPLE2", "\x87": "TUPLE3",
                "\x88": "NEWTRUE", "\x89": "NEWFALSE", "\x8f": "EMPTY_SET", "\x90": "ADDITEMS", "\x91": "FROZENSET",
                "\x92": "NEWOBJ_EX", "\x93": "STACK_GLOBAL", "\x94": "MEMOIZE", "\x97": "NEXT_BUFFER",
                "\x98": "READONLY_BUFFER",
            },
        ),
        ("u1", {"K": "BININT1", "h": "BINGET", "q": "BINPUT", "\x80": "PROTO", "\x82": "EXT1"}),
        ("u2", {"M": "BININT2", "\x83": "EXT2"}),
        ("u4", {"j": "LONG_BINGET", "r": "LONG_BINPUT", "\x84": "EXT4"}),
        ("i4", {"J": "BININT"}),
        ("u8", {"\x95": "FRAME"}),
        ("f8", {"G": "BINFLOAT"}),
        ("line", {"F": "FLOAT", "I": "INT", "L": "LONG", "P": "PERSID", "g": "GET", "p": "PUT"}),
        ("text", {"S": "STRING", "V": "UNICODE"}),
        ("lines", {"c": "GLOBAL", "i": "INST"}),
        ("data1", {"C": "SHORT_BINBYTES", "U": "SHORT_BINSTRING", "\x8a": "LONG1", "\x8c": "SHORT_BINUNICODE"}),
        ("data4", {"B": "BINBYTES", "T": "BINSTRING", "X": "BINUNICODE", "\x8b": "LONG4"}),
        ("data8", {"\x8d": "BINUNICODE8", "\x8e": "BINBYTES8", "\x96": "BYTEARRAY8"}),
    )
    for code, name in entries.items()
}  # fmt: skip


class ByteWindow:
    """The bytes of an open file from ``begin`` to ``end``, read in small pieces."""

    def __init__(self, handle: BinaryIO, begin: int, end: int) -> None:
        self.handle = handle
        self.at = begin
        self.end = end
        handle.seek(begin)

    def read(self, count: int) -> bytes:
        data = self.handle.read(count) if count <= self.end - self.at else b""
        if len(data) != count:
            raise NotAPickleError("it ends in the middle of a pickle")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        if count > self.end - self.at:
            raise NotAPickleError("it ends in the middle of a pickle")
        self.at += count
        self.handle.seek(self.at)

    def line(self) -> bytes:
        data = self.handle.readline(min(MAX_LINE, self.end - self.at))
        if not data.endswith(b"\n"):
            raise NotAPickleError("its pickle has a line that does not end")
        self.at += len(data)
        return data[:-1]

    def text_line(self) -> bytes:
        """A line of any length, of which only the beginning is kept where it is long."""
        first = self.handle.readline(min(MAX_LINE, self.end - self.at))
        last = first
        self.at += len(last)
        while last and not last.endswith(b"\n"):
            last = self.handle.readline(min(MAX_LINE, self.end - self.at))
            self.at += len(last)
        if not last:
            raise NotAPickleError("its pickle has a line that does not end")
        return first[:-1] if first is last else first
