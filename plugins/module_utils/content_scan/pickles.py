# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would this pickle do? Its opcodes are followed on a symbolic stack; nothing is imported, called or built.

Everything is refused that is not known to be harmless (see pickle_allowlist).
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO

from ..errors import ContentError, NotAPickleError, UnsafeError
from .pickle_allowlist import ALLOWED_CALLS, ALLOWED_GLOBALS, LOCATION, is_allowed_state
from .pickle_machine import MAX_MEMO, MAX_STACK, PickleValues
from .pickle_opcodes import OPCODES, ByteWindow
from .pickle_values import (
    PARAMETER_DICT_VALUE,
    STORAGE_ELEMENT_SIZES,
    GlobalName,
    StorageInfo,
    StorageValue,
    is_global,
    is_index_tuple,
)

MAX_STEPS = 3_000_000  # a pickle of this size names some ten thousand tensors; Stable Diffusion XL has 2500
LARGE_DATA = 1 << 16  # bytes from which a pickler writes data outside its frames
IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class PickleScan(PickleValues):
    """One pickle. ``run`` follows it to its end; ``imports`` and ``storages`` (by key) tell what it would ask for.

    ``storages`` is None where a loader would know none.
    """

    def __init__(self, window: ByteWindow, storages: dict[str, StorageInfo] | None = None) -> None:
        super().__init__(window)
        self.storages = storages
        self.frame_end = 0  # where the last FRAME ends; 0 without one

    @property
    def disallowed_imports(self) -> list[str]:
        return sorted(self.imports - ALLOWED_GLOBALS)

    def run(self) -> Any:
        """The symbolic value of the pickle; the window then stands behind it. Raises ContentError."""
        try:
            result = self.follow()
        except ContentError as exc:
            if not self.disallowed_imports:
                raise
            raise self._import_error() from exc
        if self.disallowed_imports:
            raise self._import_error()
        return result

    def _import_error(self) -> ContentError:
        names = [name.replace(" ", ".")[:100] for name in self.disallowed_imports]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return UnsafeError("it would import {}{} when loaded".format(", ".join(names[:5]), more))

    def follow(self) -> Any:
        read = self.window.read
        for step in range(MAX_STEPS):
            begin = self.window.at
            code = read(1)[0]
            if code not in OPCODES:
                raise NotAPickleError(f"it is no pickle: there is no opcode 0x{code:02x} (byte {begin})")
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
            getattr(self, "op_" + name.lower(), self._reject)(name, *argument)
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

    def op_frame(self, _name: str, count: int) -> None:
        if count > self.window.end - self.window.at:
            raise NotAPickleError("it ends in the middle of a pickle")
        if self.frame_end:
            raise ContentError("its pickle has a frame inside a frame")
        self.frame_end = self.window.at + count

    def _import(self, module: Any, name: Any) -> GlobalName:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ContentError("its pickle imports something whose name is not known before it is loaded")
        if not IDENTIFIER.fullmatch(module) or not IDENTIFIER.fullmatch(name):
            raise ContentError(f"its pickle imports {name!r:.60} from {module!r:.60}, which are no names")
        if len(self.imports) < 1000:  # refused by then, and named enough
            self.imports.add(f"{module} {name}")
        return GlobalName(f"{module} {name}")

    def op_global(self, _name: str, module: bytes, name: bytes) -> None:
        try:
            self._push(self._import(module.decode("utf-8"), name.decode("utf-8")))
        except UnicodeDecodeError as exc:
            raise NotAPickleError("it is no pickle: the name of an import is no text") from exc

    def op_stack_global(self, _name: str) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._import(module, name))

    def op_inst(self, opcode: str, module: bytes, name: bytes) -> None:
        self._to_mark()
        self.op_global(opcode, module, name)
        self._reject(opcode)

    def op_reduce(self, _name: str) -> None:
        arguments, callee = self._pop(), self._pop()
        self.calls += 1
        call = ALLOWED_CALLS.get(callee.name) if isinstance(callee, GlobalName) else None
        result = call(arguments) if call and isinstance(arguments, tuple) else None
        if result is None:
            self._misuse("calls", callee)
        self._push(result)

    def op_newobj(self, _name: str) -> None:
        arguments, kind = self._pop(), self._pop()
        self.calls += 1
        if not is_global(kind, "torch.nn.modules.container ParameterDict") or arguments != ():
            self._misuse("makes", kind)
        self._push(PARAMETER_DICT_VALUE)

    def op_build(self, _name: str) -> None:
        state, value = self._pop(), self._top()
        self.calls += 1
        if not is_allowed_state(value, state):
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
        known = (
            isinstance(kind, GlobalName) and kind.name.startswith("torch ") and kind.name[6:] in STORAGE_ELEMENT_SIZES
        )
        if not known or not isinstance(key, str) or not re.fullmatch(r"\d{1,20}", key) or not is_index_tuple((length,)):
            raise ContentError("its pickle asks for a storage of an unknown kind")
        if not isinstance(location, str) or not LOCATION.fullmatch(location):
            raise ContentError("its pickle asks for a storage in an unknown place")
        info = StorageInfo(kind.name[6:], length)
        if self.storages.setdefault(key, info) != info or len(self.storages) > MAX_STACK:
            raise ContentError("its pickle describes a storage in two ways, or too many of them")
        self._push(StorageValue(length))


def _looks_like_text(handle: BinaryIO) -> bool:
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
    pickle = PickleScan(ByteWindow(handle, 0, size), {})
    try:
        for _pickle in range(5):  # as many as torch reads
            pickle.follow()
            if pickle.imports:
                return True
            pickle.stack, pickle.below, pickle.depth, pickle.frame_end = [], [], 0, 0
    except NotAPickleError:
        return bool(pickle.imports) and (bool(pickle.calls) or not _looks_like_text(handle))
    except ContentError:  # a loader would go on where we do not
        return True
    return False
