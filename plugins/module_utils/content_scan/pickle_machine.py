# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pickle machine on symbolic values: the opcodes that neither import nor call anything."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from ..errors import ContentError, NotAPickleError
from .pickle_opcodes import MAX_LINE, ByteWindow
from .pickle_values import (
    BYTES_VALUE,
    DICT_VALUE,
    NUMBER_VALUE,
    ORDERED_DICT_VALUE,
    SET_VALUE,
    TEXT_VALUE,
    TUPLE_VALUE,
    PickleList,
    SymbolicValue,
    describe_value,
    has_exact_type,
)

# A pickle of these sizes names some ten thousand tensors; Stable Diffusion XL has 2500. They bound memory and time.
MAX_STACK = 100_000
MAX_MEMO = 250_000
MAX_ELEMENTS = 1_000_000  # in tuples that may still be looked at
MAX_TEXTS = 150_000  # of up to MAX_KEPT characters: longer ones name nothing that is allowed
MAX_KEPT = 64

# as picklers write them: C's Unpickler reads 010 as 8, and +1 as True
DECIMAL = re.compile(rb"(0|-?[1-9]\d{0,18})L?")


class PickleStack:
    """The stack, the marks and the memo, with the opcodes that only move values. Raises ContentError."""

    def __init__(self, window: ByteWindow) -> None:
        self.window = window
        self.imports: set[str] = set()
        self.calls = 0  # what it would call or fill, allowed or not
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}
        self.depth = 0  # of self.below, in values

    @staticmethod
    def _underflow() -> NoReturn:
        raise NotAPickleError("it is no pickle: it takes more from the stack than there is")

    def _pop(self) -> Any:
        return self.stack.pop() if self.stack else self._underflow()

    def _top(self) -> Any:
        return self.stack[-1] if self.stack else self._underflow()

    def _to_mark(self) -> list[Any]:
        if not self.below:
            self._underflow()
        items, self.stack = self.stack, self.below.pop()
        self.depth -= len(self.stack) + 1
        return items

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _reject(self, name: str, *_: Any) -> None:
        self.calls += name in ("INST", "OBJ", "NEWOBJ_EX")
        if name == "PERSID":  # torch's loader takes no text, and others know none at all
            raise NotAPickleError("it is no pickle: it asks for something by a text")
        raise ContentError(f"its pickle uses {name}, which no tensor file needs")

    def op_mark(self, _name: str) -> None:
        self.below.append(self.stack)
        self.depth += len(self.stack) + 1
        self.stack = []

    def op_pop(self, _name: str) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._to_mark()

    def op_pop_mark(self, _name: str) -> None:
        self._to_mark()

    def op_dup(self, _name: str) -> None:
        self._push(self._top())

    # --- the memo

    def op_put(self, name: str, key: Any) -> None:
        if name == "PUT":
            key = self._decimal(key)
        if not has_exact_type(key, int) or not 0 <= key <= MAX_MEMO:  # a loader makes room for every smaller key
            raise ContentError("its pickle has a memo key that no pickler writes")
        self.memo[key] = self._top()

    op_binput = op_long_binput = op_put

    def op_memoize(self, _name: str) -> None:
        self.memo[len(self.memo)] = self._top()

    def op_get(self, name: str, key: Any) -> None:
        if name == "GET":
            key = self._decimal(key)
        if key not in self.memo:
            raise NotAPickleError("it is no pickle: it asks for a memo that was not made")
        self._push(self.memo[key])

    op_binget = op_long_binget = op_get

    @staticmethod
    def _decimal(line: bytes) -> Any:
        return int(line.rstrip(b"L")) if DECIMAL.fullmatch(line) else NUMBER_VALUE

    def _misuse(self, what: str, value: Any) -> NoReturn:
        # without an import there is nothing that could be called or changed
        kind = ContentError if self.imports else NotAPickleError
        raise kind(f"its pickle {what} {describe_value(value)[:100]} in a way that no tensor file does")


class PickleValues(PickleStack):
    """The opcodes for plain values and containers."""

    def __init__(self, window: ByteWindow) -> None:
        super().__init__(window)
        self.texts = 0
        self.elements = 0

    def op_none(self, _name: str) -> None:
        self._push(None)

    def op_newtrue(self, name: str) -> None:
        self._push(name == "NEWTRUE")

    op_newfalse = op_newtrue

    def op_binint(self, _name: str, value: int) -> None:
        self._push(value)

    op_binint1 = op_binint2 = op_binint

    def op_int(self, name: str, line: bytes) -> None:
        self._push(
            {b"00": False, b"01": True}[line] if name == "INT" and line in (b"00", b"01") else self._decimal(line)
        )

    op_long = op_int

    def op_long1(self, _name: str, count: int) -> None:
        if count > 16:
            self.window.skip(count)
            self._push(NUMBER_VALUE)
        else:
            self._push(int.from_bytes(self.window.read(count), "little", signed=True))

    op_long4 = op_long1

    def op_float(self, _name: str, _raw: bytes) -> None:
        self._push(NUMBER_VALUE)

    op_binfloat = op_float

    def _push_text(self, raw: bytes) -> None:
        """Short ASCII texts are kept, as they may name something."""
        if len(raw) > MAX_KEPT or not raw.isascii() or self.texts >= MAX_TEXTS:
            self._push(TEXT_VALUE)
        else:
            self.texts += 1
            self._push(raw.decode("ascii"))

    def op_binunicode(self, _name: str, count: int) -> None:
        if count > MAX_KEPT:
            self.window.skip(count)
            self._push(TEXT_VALUE)
        else:
            self._push_text(self.window.read(count))

    op_short_binunicode = op_binunicode8 = op_binstring = op_short_binstring = op_binunicode

    def op_string(self, _name: str, line: bytes) -> None:
        line = line.strip()
        if len(line) >= MAX_LINE - 1:  # its end was not kept
            return self._push(TEXT_VALUE)
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise NotAPickleError("it is no pickle: a text has no quotes")
        self.op_unicode(_name, line[1:-1])

    def op_unicode(self, _name: str, line: bytes) -> None:
        if b"\\" in line:
            self._push(TEXT_VALUE)
        else:
            self._push_text(line)

    def op_binbytes(self, _name: str, count: int) -> None:
        self.window.skip(count)
        self._push(BYTES_VALUE)

    op_short_binbytes = op_binbytes8 = op_bytearray8 = op_binbytes

    def _push_tuple(self, items: list[Any]) -> None:
        """Push a tuple. It is kept as far as it could be the arguments or the state of something allowed."""
        self.elements += len(items)
        if self.elements > MAX_ELEMENTS:
            raise ContentError("its pickle holds more objects than a model has")
        if len(items) > MAX_KEPT:
            return self._push(TUPLE_VALUE)
        deep = (has_exact_type(item, tuple) and any(has_exact_type(inner, tuple) for inner in item) for item in items)
        self._push(tuple(TUPLE_VALUE if nested else item for item, nested in zip(items, deep)))

    def op_empty_tuple(self, _name: str) -> None:
        self._push(())

    def op_tuple(self, _name: str) -> None:
        self._push_tuple(self._to_mark())

    def op_tuple1(self, name: str) -> None:
        count = int(name[-1])
        if len(self.stack) < count:
            self._underflow()
        items = self.stack[-count:]
        del self.stack[-count:]
        self._push_tuple(items)

    op_tuple2 = op_tuple3 = op_tuple1

    def op_empty_list(self, _name: str) -> None:
        self._push(PickleList())

    def op_list(self, _name: str) -> None:
        items = self._to_mark()
        self._push(PickleList())
        self._top().add(items)

    def op_append(self, name: str) -> None:
        items = [self._pop()] if name == "APPEND" else self._to_mark()
        if not isinstance(self._top(), PickleList):
            self._misuse("appends to", self._top())
        self._top().add(items)

    op_appends = op_append

    def op_empty_dict(self, _name: str) -> None:
        self._push(DICT_VALUE)

    def _check_pairs(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise NotAPickleError("it is no pickle: a key has no value")

    def op_dict(self, _name: str) -> None:
        self._check_pairs(self._to_mark())
        self._push(DICT_VALUE)

    def op_setitem(self, name: str) -> None:
        self._check_pairs([self._pop(), self._pop()] if name == "SETITEM" else self._to_mark())
        if self._top() is not DICT_VALUE and self._top() is not ORDERED_DICT_VALUE:
            self._misuse("sets items of", self._top())

    op_setitems = op_setitem

    def op_empty_set(self, _name: str) -> None:
        self._push(SET_VALUE)

    def op_additems(self, _name: str) -> None:
        self._to_mark()
        if self._top() is not SET_VALUE:
            self._misuse("adds to", self._top())

    def op_frozenset(self, _name: str) -> None:
        self._to_mark()
        self._push(SymbolicValue("a frozenset"))
