# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would this pickle do? Its opcodes are followed on a symbolic stack; nothing is imported, called or built.

Everything is refused that is not known to be harmless. The globals are those which the WebUI's own loader
(modules/safe.py of AUTOMATIC1111 1.10.1) accepts, and the plain tensors which it does not know but torch's ``weights_only``
does: those of torch before 0.4 and those of bool, short, char and complex numbers. Each may be used only the way a tensor file
uses it: called with arguments of the known shape, filled with state of the known shape, or merely named.
Python's opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO, Callable, NamedTuple, NoReturn

from ..errors import ContentError, NoPickleError, UnsafeError

# Bytes per element. These names are only ever named, in a storage's persistent id.
STORAGES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "FloatStorage": 4,
    "IntStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}
# A pickle of these sizes names some ten thousand tensors; Stable Diffusion XL has 2500. They bound memory and time.
MAX_STEPS = 3_000_000
MAX_STACK = 100_000
MAX_MEMO = 250_000
MAX_ELEMENTS = 1_000_000  # in tuples that may still be looked at
MAX_TEXTS = 150_000  # of up to MAX_KEPT characters: longer ones name nothing that is allowed
MAX_KEPT = 64
MAX_LINE = 4096
LARGE_DATA = 1 << 16  # bytes from which a pickler writes data outside its frames

IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# as picklers write them: C's Unpickler reads 010 as 8, and +1 as True
DECIMAL = re.compile(rb"(0|-?[1-9]\d{0,18})L?")
# numbers and plain text of a fixed size: no objects, no records
SCALAR_TYPE = re.compile(r"[<>=|]?(?:[biu][1248]|f[248]|c(?:8|16)|[SU]\d{1,5}|\?)")
LOCATION = re.compile(r"[a-z][a-z0-9_]{0,40}(:\d{1,6})?")  # of a device: cpu, cuda:0, privateuseone:0


class Token:
    """A value of which only the sort matters."""

    __slots__ = ("sort",)

    def __init__(self, sort: str) -> None:
        self.sort = sort


class Global(Token):
    """Something that would be imported."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__("a global")
        self.name = name  # "module name", as the opcode has it


class Storage(Token):
    """Raw numbers that the loader takes from elsewhere in the file."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        super().__init__("a storage")
        self.length = length


class Listing(Token):
    """A list; its items are kept while all of them are short texts, for the list of storage keys in old files."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        super().__init__("a list")
        self.items: list[str] | None = []

    def add(self, values: list[Any]) -> None:
        if self.items is not None and all(isinstance(value, str) for value in values):
            self.items.extend(values)
        else:
            self.items = None


class StorageInfo(NamedTuple):
    type: str
    length: int  # in elements

    @property
    def bytes(self) -> int:
        return self.length * STORAGES[self.type]


# Values that carry no more than their sort. Besides these, the stack holds None, bool, int, short str, tuple.
TEXT, BYTES, NUMBER, TUPLE = Token("a text"), Token("bytes"), Token("a number"), Token("a tuple")
DICT, SET, ORDERED = Token("a dict"), Token("a set"), Token("an OrderedDict")
TENSOR, DTYPE, ARRAY, PARAMETERS = Token("a tensor"), Token("a dtype"), Token("an array"), Token("a ParameterDict")


def _sort(value: Any) -> str:
    if isinstance(value, Global):
        return value.name.replace(" ", ".")
    return value.sort if isinstance(value, Token) else "a " + type(value).__name__


def _ints(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(item) is int and 0 <= item < 1 << 48 for item in value)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, Global) and value.name == name


# --- what may be called, and how: each takes the arguments and gives the result, or None when they are not as they should


def _ordered(arguments: Any) -> Token | None:
    return ORDERED if not arguments or (len(arguments) == 1 and isinstance(arguments[0], Listing)) else None


def _set(arguments: Any) -> Token | None:
    return SET if len(arguments) == 1 and isinstance(arguments[0], Listing) else None


def _no_hooks(value: Any) -> bool:
    """Backward hooks, of which old and DirectML files say None and all others have an empty OrderedDict."""
    return value is ORDERED or value is None


def _tensor(arguments: Any) -> Token | None:
    if not 6 <= len(arguments) <= 7:
        return None
    gradient, hooks = arguments[4:6]
    if type(gradient) is not bool or not _no_hooks(hooks) or (len(arguments) == 7 and arguments[6] is not DICT):
        return None
    return _old_tensor(arguments[:4])


def _old_tensor(arguments: Any) -> Token | None:
    """As torch wrote them before 0.4, and what all versions begin with."""
    if len(arguments) != 4 or not isinstance(arguments[0], Storage):
        return None
    storage, offset, size, stride = arguments
    if not _ints((offset,)) or not _ints(size) or not _ints(stride) or len(size) != len(stride):
        return None
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    # torch would make the storage larger, with whatever lies in memory
    return TENSOR if 0 in size or last < storage.length else None


def _parameter(arguments: Any) -> Token | None:
    if len(arguments) == 3 and arguments[0] is TENSOR and type(arguments[1]) is bool and _no_hooks(arguments[2]):
        return TENSOR
    return None


def _from_numpy(arguments: Any) -> Token | None:
    if len(arguments) == 4 and arguments[0] is ARRAY and _is(arguments[1], "torch float32"):
        if isinstance(arguments[2], str) and LOCATION.fullmatch(arguments[2]) and type(arguments[3]) is bool:
            return TENSOR
    return None


def _dtype(arguments: Any) -> Token | None:
    if 1 <= len(arguments) <= 3 and isinstance(arguments[0], str) and SCALAR_TYPE.fullmatch(arguments[0]):
        if all(type(flag) in (bool, int) and flag in (0, 1) for flag in arguments[1:]):
            return DTYPE
    return None


def _scalar(arguments: Any) -> Token | None:
    return NUMBER if len(arguments) == 2 and arguments[0] is DTYPE and arguments[1] is BYTES else None


def _array(arguments: Any) -> Token | None:
    if len(arguments) == 3 and _is(arguments[0], "numpy ndarray") and arguments[1] == (0,):
        return ARRAY if arguments[2] is BYTES or arguments[2] == "b" else None
    return None


def _encode(arguments: Any) -> Token | None:
    # how bytes are written below protocol 3
    if len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return BYTES if arguments[0] is TEXT or isinstance(arguments[0], str) else None
    return None


CALLS: dict[str, Callable[[Any], Token | None]] = {
    "collections OrderedDict": _ordered,
    "__builtin__ set": _set,
    "_codecs encode": _encode,
    "numpy dtype": _dtype,
    "numpy.core.multiarray scalar": _scalar,
    "numpy.core.multiarray _reconstruct": _array,
    "torch._utils _rebuild_tensor": _old_tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_device_tensor_from_numpy": _from_numpy,
}
NAMED = {
    "numpy ndarray",
    "torch float32",
    "torch.nn.modules.container ParameterDict",
    # Stable Diffusion 1.x checkpoints have the class as the key of its state
    "pytorch_lightning.callbacks model_checkpoint",
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
    *("torch " + name for name in STORAGES),
}
ALLOWED = NAMED | set(CALLS)


def _state_fits(value: Any, state: Any) -> bool:
    """Whether BUILD may give ``state`` to ``value``. A pair would set attributes one by one, so dicts must be dicts."""
    if value is ORDERED or value is PARAMETERS:
        return state is DICT
    if not isinstance(state, tuple):
        return False
    if value is DTYPE:  # (version, byte order, base, names, fields, size, alignment, flags)
        if len(state) != 8 or type(state[0]) is not int or state[1] not in ("<", ">", "|", "="):
            return False
        sized = all(type(item) is int and -1 <= item < 1 << 20 for item in state[5:7])
        return state[2:5] == (None, None, None) and sized and type(state[7]) is int and state[7] == 0
    if value is ARRAY:  # (version, shape, dtype, column order, numbers)
        if len(state) != 5 or type(state[0]) is not int or not _ints(state[1]) or type(state[3]) is not bool:
            return False
        return state[2] is DTYPE and (state[4] is BYTES)
    return False


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


class Window:
    """The bytes of an open file from ``begin`` to ``end``, read in small pieces."""

    def __init__(self, handle: BinaryIO, begin: int, end: int) -> None:
        self.handle = handle
        self.at = begin
        self.end = end
        handle.seek(begin)

    def read(self, count: int) -> bytes:
        data = self.handle.read(count) if count <= self.end - self.at else b""
        if len(data) != count:
            raise NoPickleError("it ends in the middle of a pickle")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        if count > self.end - self.at:
            raise NoPickleError("it ends in the middle of a pickle")
        self.at += count
        self.handle.seek(self.at)

    def line(self) -> bytes:
        data = self.handle.readline(min(MAX_LINE, self.end - self.at))
        if not data.endswith(b"\n"):
            raise NoPickleError("its pickle has a line that does not end")
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
            raise NoPickleError("its pickle has a line that does not end")
        return first[:-1] if first is last else first


class Pickle:
    """One pickle. ``run`` follows it to its end; ``imports`` and ``storages`` (by key) tell what it would ask for.

    ``storages`` is None where a loader would know none.
    """

    def __init__(self, window: Window, storages: dict[str, StorageInfo] | None = None) -> None:
        self.window = window
        self.storages = storages
        self.imports: set[str] = set()
        self.calls = 0  # what it would call or fill, allowed or not
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}
        self.depth = 0  # of self.below, in values
        self.texts = 0
        self.elements = 0
        self.frame_end = 0  # where the last FRAME ends; 0 without one

    @property
    def strangers(self) -> list[str]:
        return sorted(self.imports - ALLOWED)

    def run(self) -> Any:
        """The symbolic value of the pickle; the window then stands behind it. Raises ContentError."""
        try:
            result = self._follow()
        except ContentError as exc:
            if not self.strangers:
                raise
            raise self._imports() from exc
        if self.strangers:
            raise self._imports()
        return result

    def _imports(self) -> ContentError:
        names = [name.replace(" ", ".")[:100] for name in self.strangers]
        more = " and %d more" % (len(names) - 5) if len(names) > 5 else ""
        return UnsafeError("it would import {}{} when loaded".format(", ".join(names[:5]), more))

    def _follow(self) -> Any:
        read = self.window.read
        for step in range(MAX_STEPS):
            begin = self.window.at
            code = read(1)[0]
            if code not in OPCODES:
                raise NoPickleError("it is no pickle: there is no opcode 0x%02x (byte %d)" % (code, begin))
            name, form = OPCODES[code]
            argument = self._argument(form)
            if begin == self.frame_end != 0:
                self._leave_frame(name, argument)
            if name == "STOP":
                if self.frame_end and self.window.at != self.frame_end:
                    raise ContentError("its pickle ends before its frame does")
                if len(self.stack) != 1 or self.below:
                    raise ContentError("its pickle ends with an unfinished stack")
                return self.stack.pop()
            if name == "PROTO":
                if step or argument[0] > 5:
                    raise ContentError("its pickle is of an unknown protocol")
                continue
            getattr(self, "op_" + name.lower(), self._refuse)(name, *argument)
            if self.frame_end and self.window.at > self.frame_end:
                raise ContentError("its pickle has a frame that ends in the middle of something")
            if len(self.stack) + self.depth > MAX_STACK or len(self.memo) > MAX_MEMO:
                raise ContentError("its pickle holds more objects than a model has")
        raise ContentError("its pickle has more steps than a model has")

    def _leave_frame(self, name: str, argument: tuple[Any, ...]) -> None:
        """Refuse what no pickler writes behind a frame.

        C's Unpickler takes a frame out of the file as a whole, so that it and a reader of single opcodes go on at different
        places where a frame is no whole number of them. Picklers leave the frame for large data only.
        """
        large = name in ("BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINUNICODE", "BINUNICODE8")
        if name != "FRAME" and not (large and argument[0] >= LARGE_DATA):
            raise ContentError("its pickle goes on behind its frame")
        self.frame_end = 0

    def _argument(self, form: str) -> tuple[Any, ...]:
        """What stands behind an opcode; of data only its length, which is still to be read."""
        read = self.window.read
        if form == "none":
            return ()
        if form in ("u1", "data1"):
            return (read(1)[0],)
        if form == "u2":
            return (struct.unpack("<H", read(2))[0],)
        if form in ("u4", "data4"):
            return (struct.unpack("<I", read(4))[0],)
        if form == "i4":
            return (struct.unpack("<i", read(4))[0],)
        if form in ("u8", "data8"):
            return (struct.unpack("<Q", read(8))[0],)
        if form == "f8":
            return (read(8),)
        if form == "line":
            return (self.window.line(),)
        if form == "text":
            return (self.window.text_line(),)
        return (self.window.line(), self.window.line())

    # --- the stack

    @staticmethod
    def _underflow() -> NoReturn:
        raise NoPickleError("it is no pickle: it takes more from the stack than there is")

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

    def _refuse(self, name: str, *_: Any) -> None:
        self.calls += name in ("INST", "OBJ", "NEWOBJ_EX")
        if name == "PERSID":  # torch's loader takes no text, and others know none at all
            raise NoPickleError("it is no pickle: it asks for something by a text")
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
        if type(key) is not int or not 0 <= key <= MAX_MEMO:  # a loader makes room for every smaller key
            raise ContentError("its pickle has a memo key that no pickler writes")
        self.memo[key] = self._top()

    op_binput = op_long_binput = op_put

    def op_memoize(self, _name: str) -> None:
        self.memo[len(self.memo)] = self._top()

    def op_get(self, name: str, key: Any) -> None:
        if name == "GET":
            key = self._decimal(key)
        if key not in self.memo:
            raise NoPickleError("it is no pickle: it asks for a memo that was not made")
        self._push(self.memo[key])

    op_binget = op_long_binget = op_get

    # --- plain values

    @staticmethod
    def _decimal(line: bytes) -> Any:
        return int(line.rstrip(b"L")) if DECIMAL.fullmatch(line) else NUMBER

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
            self._push(NUMBER)
        else:
            self._push(int.from_bytes(self.window.read(count), "little", signed=True))

    op_long4 = op_long1

    def op_float(self, _name: str, _raw: bytes) -> None:
        self._push(NUMBER)

    op_binfloat = op_float

    def _text(self, raw: bytes) -> None:
        """Short ASCII texts are kept, as they may name something."""
        if len(raw) > MAX_KEPT or not raw.isascii() or self.texts >= MAX_TEXTS:
            self._push(TEXT)
        else:
            self.texts += 1
            self._push(raw.decode("ascii"))

    def op_binunicode(self, _name: str, count: int) -> None:
        if count > MAX_KEPT:
            self.window.skip(count)
            self._push(TEXT)
        else:
            self._text(self.window.read(count))

    op_short_binunicode = op_binunicode8 = op_binstring = op_short_binstring = op_binunicode

    def op_string(self, _name: str, line: bytes) -> None:
        line = line.strip()
        if len(line) >= MAX_LINE - 1:  # its end was not kept
            return self._push(TEXT)
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise NoPickleError("it is no pickle: a text has no quotes")
        self.op_unicode(_name, line[1:-1])

    def op_unicode(self, _name: str, line: bytes) -> None:
        if b"\\" in line:
            self._push(TEXT)
        else:
            self._text(line)

    def op_binbytes(self, _name: str, count: int) -> None:
        self.window.skip(count)
        self._push(BYTES)

    op_short_binbytes = op_binbytes8 = op_bytearray8 = op_binbytes

    def op_frame(self, _name: str, count: int) -> None:
        if count > self.window.end - self.window.at:
            raise NoPickleError("it ends in the middle of a pickle")
        if self.frame_end:
            raise ContentError("its pickle has a frame inside a frame")
        self.frame_end = self.window.at + count

    # --- containers

    def _made(self, items: list[Any]) -> None:
        """Push a tuple. It is kept as far as it could be the arguments or the state of something allowed."""
        self.elements += len(items)
        if self.elements > MAX_ELEMENTS:
            raise ContentError("its pickle holds more objects than a model has")
        if len(items) > MAX_KEPT:
            return self._push(TUPLE)
        deep = (type(item) is tuple and any(type(inner) is tuple for inner in item) for item in items)
        self._push(tuple(TUPLE if nested else item for item, nested in zip(items, deep)))

    def op_empty_tuple(self, _name: str) -> None:
        self._push(())

    def op_tuple(self, _name: str) -> None:
        self._made(self._to_mark())

    def op_tuple1(self, name: str) -> None:
        count = int(name[-1])
        if len(self.stack) < count:
            self._underflow()
        items = self.stack[-count:]
        del self.stack[-count:]
        self._made(items)

    op_tuple2 = op_tuple3 = op_tuple1

    def op_empty_list(self, _name: str) -> None:
        self._push(Listing())

    def op_list(self, _name: str) -> None:
        items = self._to_mark()
        self._push(Listing())
        self._top().add(items)

    def op_append(self, name: str) -> None:
        items = [self._pop()] if name == "APPEND" else self._to_mark()
        if not isinstance(self._top(), Listing):
            self._misuse("appends to", self._top())
        self._top().add(items)

    op_appends = op_append

    def op_empty_dict(self, _name: str) -> None:
        self._push(DICT)

    def _pairs(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise NoPickleError("it is no pickle: a key has no value")

    def op_dict(self, _name: str) -> None:
        self._pairs(self._to_mark())
        self._push(DICT)

    def op_setitem(self, name: str) -> None:
        self._pairs([self._pop(), self._pop()] if name == "SETITEM" else self._to_mark())
        if self._top() is not DICT and self._top() is not ORDERED:
            self._misuse("sets items of", self._top())

    op_setitems = op_setitem

    def op_empty_set(self, _name: str) -> None:
        self._push(SET)

    def op_additems(self, _name: str) -> None:
        self._to_mark()
        if self._top() is not SET:
            self._misuse("adds to", self._top())

    def op_frozenset(self, _name: str) -> None:
        self._to_mark()
        self._push(Token("a frozenset"))

    # --- what can do harm

    def _misuse(self, what: str, value: Any) -> NoReturn:
        # without an import there is nothing that could be called or changed
        kind = ContentError if self.imports else NoPickleError
        raise kind(f"its pickle {what} {_sort(value)[:100]} in a way that no tensor file does")

    def _import(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ContentError("its pickle imports something whose name cannot be told before it is loaded")
        if not IDENTIFIER.fullmatch(module) or not IDENTIFIER.fullmatch(name):
            raise ContentError("its pickle imports %.60r from %.60r, which are no names" % (name, module))
        if len(self.imports) < 1000:  # refused by then, and named enough
            self.imports.add(f"{module} {name}")
        return Global(f"{module} {name}")

    def op_global(self, _name: str, module: bytes, name: bytes) -> None:
        try:
            self._push(self._import(module.decode("utf-8"), name.decode("utf-8")))
        except UnicodeDecodeError as exc:
            raise NoPickleError("it is no pickle: the name of an import is no text") from exc

    def op_stack_global(self, _name: str) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._import(module, name))

    def op_inst(self, opcode: str, module: bytes, name: bytes) -> None:
        self._to_mark()
        self.op_global(opcode, module, name)
        self._refuse(opcode)

    def op_reduce(self, _name: str) -> None:
        arguments, callee = self._pop(), self._pop()
        self.calls += 1
        call = CALLS.get(callee.name) if isinstance(callee, Global) else None
        result = call(arguments) if call and isinstance(arguments, tuple) else None
        if result is None:
            self._misuse("calls", callee)
        self._push(result)

    def op_newobj(self, _name: str) -> None:
        arguments, kind = self._pop(), self._pop()
        self.calls += 1
        if not _is(kind, "torch.nn.modules.container ParameterDict") or arguments != ():
            self._misuse("makes", kind)
        self._push(PARAMETERS)

    def op_build(self, _name: str) -> None:
        state, value = self._pop(), self._top()
        self.calls += 1
        if not _state_fits(value, state):
            self._misuse("changes", value)

    def op_binpersid(self, _name: str) -> None:
        """("storage", type, key, location, length) and, in old files, the view, which nobody writes any more."""
        saved = self._pop()
        if self.storages is None:
            raise ContentError("its pickle asks for storages, but it is no torch file")
        if (
            not isinstance(saved, tuple)
            or not 5 <= len(saved) <= 6
            or saved[0] != "storage"
            or saved[5:] not in ((), (None,))
        ):
            raise ContentError("its pickle asks for something that is no storage")
        kind, key, location, length = saved[1:5]
        known = isinstance(kind, Global) and kind.name.startswith("torch ") and kind.name[6:] in STORAGES
        if not known or not isinstance(key, str) or not re.fullmatch(r"\d{1,20}", key) or not _ints((length,)):
            raise ContentError("its pickle asks for a storage of an unknown kind")
        if not isinstance(location, str) or not LOCATION.fullmatch(location):
            raise ContentError("its pickle asks for a storage in an unknown place")
        info = StorageInfo(kind.name[6:], length)
        if self.storages.setdefault(key, info) != info or len(self.storages) > MAX_STACK:
            raise ContentError("its pickle describes a storage in two ways, or too many of them")
        self._push(Storage(length))


def _is_text(handle: BinaryIO) -> bool:
    """Whether a file begins as plain text does; a character may be cut at the end of what is looked at."""
    handle.seek(0)
    raw = handle.read(4096)
    words = raw.decode("utf-8", "replace")
    broken = words[:-1].count("\ufffd") - raw.count(b"\xef\xbf\xbd")
    return broken <= 0 and not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", words)


def looks_like_pickle(handle: BinaryIO, size: int) -> bool:
    """Whether a file could be a pickle that does something, whatever it is called.

    From protocol 2 on, pickles begin with 0x80; older ones have no mark, so they count once they import. An error before STOP
    comes too late to undo an import, so it makes no difference; but a text that begins with a c imports something as well,
    so text must call it too.
    """
    handle.seek(0)
    head = handle.read(3)
    if len(head) == 3 and head[0] == 0x80 and head[1] <= 5 and head[2] in OPCODES:
        return True
    pickle = Pickle(Window(handle, 0, size), {})
    try:
        for _ in range(5):  # as many as torch reads
            pickle._follow()
            if pickle.imports:
                return True
            pickle.stack, pickle.below, pickle.depth, pickle.frame_end = [], [], 0, 0
    except NoPickleError:
        return bool(pickle.imports) and (bool(pickle.calls) or not _is_text(handle))
    except ContentError:  # a loader would go on where we do not
        return True
    return False
