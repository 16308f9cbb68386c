"""Ours against C's Unpickler, the oracle: what our reader accepts, C's reads the same way, opcode by opcode.

Random streams of opcodes, frames among them, are read by both; C's with ``find_class`` and ``persistent_load`` replaced, so that
nothing is imported. For each stream that ours accepts, C's must ask for the same imports and storages in the same order, end
at the same byte, and hold a value of the same sort. A large run:

    SDOPS_FUZZ_FILES=100000 SDOPS_FUZZ_SEED=1 .work/venv/bin/pytest tests/unit/plugins/module_utils/content_scan/test_c_unpickler.py -q -s
"""

from __future__ import annotations

import _pickle
import codecs
import io
import os
import pickle
import random
import struct
import time
from collections import OrderedDict

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan import (
    pickle_allowlist,
    pickle_opcodes,
    pickle_values,
    pickles,
)
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError

from .conftest import MAGIC, hostile, model, old_tensor, old_torch, tensor, text
from .test_pickles import HARMLESS

FILES = int(os.environ.get("SDOPS_FUZZ_FILES", "2000"))
SEED = int(os.environ.get("SDOPS_FUZZ_SEED", "20261128"))


class Stub:
    """Stands for whatever an allowed global would make."""

    def __init__(self, sort: str) -> None:
        self.sort = sort

    def __setstate__(self, state: object) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)


class ParameterDict(Stub):
    def __new__(cls, *_arguments: object) -> ParameterDict:
        return object.__new__(cls)

    def __init__(self) -> None:
        super().__init__("a ParameterDict")


MADE = {
    "numpy dtype": "a dtype",
    "numpy.core.multiarray scalar": "a number",
    "numpy.core.multiarray _reconstruct": "an array",
    "torch._utils _rebuild_tensor": "a tensor",
    "torch._utils _rebuild_tensor_v2": "a tensor",
    "torch._utils _rebuild_parameter": "a tensor",
    "torch._utils _rebuild_device_tensor_from_numpy": "a tensor",
}
REAL = {"collections OrderedDict": OrderedDict, "__builtin__ set": set, "_codecs encode": codecs.encode}
SORTS = {
    "a text": str,
    "bytes": (bytes, bytearray),
    "a number": (int, float, bool),
    "a tuple": tuple,
    "a dict": dict,
    "a set": set,
    "a frozenset": frozenset,
    "an OrderedDict": OrderedDict,
    "a list": list,
}


class Theirs(_pickle.Unpickler):
    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__(stream, encoding="utf-8", fix_imports=False)
        self.events: list[object] = []

    def find_class(self, module: str, name: str) -> object:
        full = f"{module} {name}"
        self.events.append(full)
        assert full in pickle_allowlist.ALLOWED_GLOBALS, full
        if full in REAL:
            return REAL[full]
        if full.endswith(" ParameterDict"):
            return ParameterDict
        return (lambda *_arguments: Stub(MADE[full])) if full in MADE else Stub(full)

    def persistent_load(self, saved: tuple) -> object:
        self.events.append(("storage", saved[2], saved[4]))
        return Stub("a storage")


class TracingScan(pickles.PickleScan):
    def __init__(self, window: pickle_opcodes.ByteWindow) -> None:
        super().__init__(window, {})
        self.events: list[object] = []

    def _import(self, module: object, name: object) -> pickle_values.GlobalName:
        found = super()._import(module, name)
        self.events.append(found.name)
        return found

    def op_binpersid(self, name: str) -> None:
        saved = self._top()
        super().op_binpersid(name)
        self.events.append(("storage", saved[2], saved[4]))


def same(own: object, theirs: object) -> bool:
    if isinstance(own, pickle_values.GlobalName):
        return own.name in REAL or callable(theirs) or theirs.sort == own.name
    if isinstance(own, pickle_values.SymbolicValue):
        expected = SORTS.get(own.sort)
        return isinstance(theirs, expected or ()) or (isinstance(theirs, Stub) and theirs.sort == own.sort)
    if isinstance(own, tuple):
        return type(theirs) is tuple and len(own) == len(theirs) and all(map(same, own, theirs))
    return type(own) is type(theirs) and own == theirs


def compare(raw: bytes, stream: io.BufferedIOBase) -> str:
    """ "refused" by ours, "both" read it, or "theirs" refused it, having asked for nothing that ours did not see."""
    own = TracingScan(pickle_opcodes.ByteWindow(io.BytesIO(raw), 0, len(raw)))
    try:
        value = own.run()
    except ContentError:
        return "refused"
    theirs = Theirs(stream)
    try:
        result = theirs.load()
    except AssertionError:
        raise
    except Exception:  # noqa: BLE001  unhashable keys, texts that are no text: nothing is loaded
        assert theirs.events == own.events[: len(theirs.events)], raw
        return "theirs"
    assert theirs.events == own.events, raw
    assert stream.tell() == own.window.at, raw
    assert same(value, result), (raw, value, result)
    return "both"


ATOMS = [
    b"N", b"\x88", b"\x89", b"K\x07", b"M\x01\x02", b"J\xff\xff\xff\xff", b"I12\n", b"I01\n", b"I010\n", b"I+1\n", b"I-0\n", b"L7L\n",
    b"L010L\n", b"F1.5\n", b"G" + bytes(8), b"\x8a\x02\x01\x01", b"S'ab'\n", b"S' a'  \n", b"Vab\n", b"V\\u0041\n", b"X\x02\0\0\0ab",
    b"U\x02ab", b"C\x03abc", b"\x8c\x01x", b"]", b"}", b")", b"\x8f", b"(", b"ccollections\nOrderedDict\n)R",
    b"B\x02\0\0\0ab", b"\x8d\x01\0\0\0\0\0\0\0x", b"\x8e\x01\0\0\0\0\0\0\0x", b"\x96\x01\0\0\0\0\0\0\0x", b"ctorch\nFloatStorage\n",
]  # fmt: skip
STEPS = [
    b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91", b"\x94", b"q\x00", b"q\x01",
    b"h\x00", b"h\x01", b"p0\n", b"g0\n", b"r\x02\0\0\0", b"j\x02\0\0\0", b"R", b"b", b"\x81", b"Q", b"\x93",
]  # fmt: skip


class Maker:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.whole = [value for name, value in HARMLESS.items() if name != "deep"] + [
            tensor(),
            old_tensor(),
            model("0")[2:-1],
            text("storage"),
        ]

    def opcodes(self) -> list[bytes]:
        """Opcodes that mostly fit each other: each is tried on our reader, and most of those that do not fit are left out."""
        chance = self.chance
        remaining = [b"\x80" + bytes([chance.choice((2, 4, 4, 5))])]
        for _ in range(chance.choice((1, 3, 6, 10))):
            piece = chance.choice(chance.choice((ATOMS, ATOMS, STEPS, STEPS, self.whole)))
            if chance.random() < 0.03 or self.goes_on(b"".join((*remaining, piece))):
                remaining.append(piece)
        remaining += self.end(b"".join(remaining))
        return remaining

    @staticmethod
    def goes_on(raw: bytes) -> bool:
        try:
            pickles.PickleScan(pickle_opcodes.ByteWindow(io.BytesIO(raw), 0, len(raw)), {}).run()
        except ContentError as exc:
            return "middle of a pickle" in str(exc)
        return True

    def end(self, raw: bytes) -> list[bytes]:
        """What takes the stack down to one value, and STOP."""
        reader = pickles.PickleScan(pickle_opcodes.ByteWindow(io.BytesIO(raw), 0, len(raw)), {})
        try:
            reader.run()
        except ContentError:
            pass
        out = []
        for below in reversed(reader.below):
            out.append(b"t")
            reader.stack = [*below, ()]
        out += [b"0"] * (len(reader.stack) - 1) if reader.stack else [b"N"]
        return [*out, b"."]

    def framed(self, pieces: list[bytes]) -> bytes:
        """Frames around runs of opcodes: mostly right, some a little too long, too short, or one inside the other."""
        chance = self.chance
        if chance.random() < 0.3:
            return b"".join(pieces)
        out, rest = [pieces[0]], pieces[1:]
        if chance.random() < 0.2:
            truncated = chance.randrange(len(rest))
            out += rest[:truncated]
            rest = rest[truncated:]
        while rest:
            count = chance.choice((len(rest), chance.randrange(1, len(rest) + 1)))
            run = b"".join(rest[:count])
            length = len(run) + (chance.choice((-2, -1, 1, 2, 5, 14)) if chance.random() < 0.1 else 0)
            out += [b"\x95" + struct.pack("<Q", max(length, 0)), run]
            rest = rest[count:]
            if rest and chance.random() < 0.05:
                large = chance.choice((b"B", b"X")) + struct.pack("<I", 1 << 16) + b"x" * (1 << 16)
                out += [large, b"0"] if chance.random() < 0.5 else [large]
                if chance.random() < 0.5:
                    out.append(rest.pop(0))
        return b"".join(out)

    def file(self) -> bytes:
        raw = self.framed(self.opcodes())
        if self.chance.random() < 0.15:
            data = bytearray(raw)
            data[self.chance.randrange(len(data))] = self.chance.randrange(256)
            raw = bytes(data)
        return raw + self.chance.choice((b"", hostile(), bytes(20), b"N."))


def test_c_unpickler_reads_accepted_pickles_the_same(tmp_path):
    maker = Maker(random.Random(SEED))
    started = time.monotonic()
    counts = {"refused": 0, "theirs": 0, "both": 0, "framed": 0}
    path = tmp_path / "x"
    while counts["both"] < FILES:
        raw = maker.file()
        found = compare(raw, io.BytesIO(raw))
        counts[found] += 1
        counts["framed"] += found == "both" and b"\x95" in raw
        if found == "both" and counts["both"] % 10 == 0:  # a file, from which C's reads ahead
            path.write_bytes(raw)
            with open(path, "rb") as stream:
                assert compare(raw, stream) == "both"
    print(f"\n{counts}, {time.monotonic() - started:.0f} s")
    assert counts["framed"] > FILES / 5
    assert counts["refused"] > FILES / 20


def framed(opcodes: bytes, more: int = 0) -> bytes:
    return b"\x80\x04\x95" + struct.pack("<Q", len(opcodes) + more) + opcodes


FRAMES = {
    "longer than its pickle": (framed(b"N.", 14) + bytes(14), False),
    "ends behind the next pickle": (framed(b"N.", len(hostile())) + hostile(), False),
    "ends in an argument": (framed(b"X\x02\0\0\0a")[:-1] + b"ab.", False),
    "ends in the middle": (framed(b"N") + b"0N.", False),
    "ends before STOP": (framed(b"N") + b".", False),
    "in another": (framed(b"N0\x95\x02\0\0\0\0\0\0\0N."), False),
    "longer than the one around it": (framed(b"\x95\x09\0\0\0\0\0\0\0") + b"N" * 8 + b".", False),
    "of nothing, at the end": (b"\x80\x04N\x95" + bytes(8) + b".", False),
    "longer than the file": (framed(b"N.", 1), False),
    "one": (framed(b"N."), True),
    "two": (framed(b"N0") + framed(b"N.")[2:], True),
    "by protocol 4": (pickle.dumps({"a": [1, 2.5]}, 4), True),
    "of many": (pickle.dumps([str(number) * 30 for number in range(5000)], 4), True),
    "large data between": (pickle.dumps(["a" * 10, b"x" * 70_000, "b" * 90_000, "c"], 5), True),
    "large data first": (pickle.dumps(b"x" * 70_000, 4), True),
}


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_frames(name, scan_error):
    raw, good = FRAMES[name]
    found = compare(raw, io.BytesIO(raw))
    assert found == ("both" if good else "refused")
    assert (scan_error(raw, "x.pkl") is None) is good
    assert (scan_error(old_torch(raw, (), b"")) is None) is good


def test_a_long_frame_hides_no_pickle(tmp_path, scan_error):
    """torch reads five pickles one after the other: a frame that swallows the second shows C's Unpickler another one."""
    mark = tmp_path / "mark"
    first = pickle.dumps(MAGIC, 2)[2:]
    decoy = b"".join(pickle.dumps(value, 2) for value in (1001, {}, {}, []))
    raw = framed(first, len(decoy)) + decoy + hostile(mark)
    stream = io.BytesIO(raw)
    assert _pickle.Unpickler(stream).load() == MAGIC
    _pickle.Unpickler(stream).load()
    assert mark.exists(), "the payload is harmless: the test proves nothing"
    assert scan_error(raw)
    assert scan_error(raw[: -len(hostile(mark))])
