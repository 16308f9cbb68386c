"""What one pickle may do: everything a real model needs, and nothing else, however it is written down."""

from __future__ import annotations

import _compat_pickle
import copyreg
import io
import os
import pickle
import pickletools
import random
import struct

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan import pickle_allowlist, pickle_opcodes, pickles
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError

from .conftest import hostile, mkdir_call, model, old_tensor, old_torch, storage, tensor, text, torch_zip

P2, P4 = b"\x80\x02", b"\x80\x04"
OK = b"\x8c\x0bcollections\x8c\x0bOrderedDict"


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def styles(mark: str) -> dict[str, bytes]:
    """Ways to write down "make this directory (or file) while loading"."""
    call = text(mark) + b"\x85R"
    through = short("os") + b"\x94" + short("mkdir") + b"\x94"
    protocol_0 = b"cos\nmkdir\n(S'" + mark.encode() + b"'\ntR."
    lazy = b"cbuiltins\nmap\ncos\nmkdir\n](" + text(mark) + b"e\x86"
    file_io = b"c_io\nFileIO\n"
    return {
        "global": P2 + b"cos\nmkdir\n" + call + b".",
        "global, protocol 0": protocol_0,
        "global, python 2 name": P2 + b"c__builtin__\nopen\n" + text(mark) + text("w") + b"\x86R.",
        "global, dotted module": P2 + b"cos.path\nos\n0" + mkdir_call(mark) + b".",
        "stack_global": P4 + short("os") + short("mkdir") + b"\x93" + call + b".",
        "stack_global, innocent texts last": P4 + through + OK + b"000" + b"0h\x00h\x01\x93" + call + b".",
        "stack_global, innocent texts between": P4 + short("os") + short("mkdir") + OK + b"00\x93" + call + b".",
        "stack_global, under a mark": P4 + short("os") + short("mkdir") + b"(" + OK + b"1\x93" + call + b".",
        "stack_global, dup": P4 + short("os") + b"20" + short("mkdir") + b"\x93" + call + b".",
        "stack_global, memo overwritten": P4 + OK + b"q\x010q\x000" + through.replace(b"\x94", b"q\x00", 1).replace(
            b"\x94", b"q\x01") + b"00h\x00h\x01\x93" + call + b".",
        "stack_global, memo in lines": P2 + text("os") + b"p7\n0" + text("mkdir") + b"p8\n0g7\ng8\n\x93" + call + b".",
        "stack_global, dotted name": P4 + short("os") + short("path.os.mkdir") + b"\x93" + call + b".",
        "stack_global, binunicode8": P4 + b"\x8d" + struct.pack("<Q", 2) + b"os" + short("mkdir") + b"\x93" + call + b".",
        "stack_global, frames": P4 + b"\x95" + struct.pack("<Q", 4) + short("os") + short("mkdir") + b"\x93" + call + b".",
        "inst": b"(S'" + mark.encode() + b"'\nios\nmkdir\n.",
        "obj": P2 + b"(" + file_io + text(mark) + text("w") + b"o.",
        "newobj": P4 + b"cbuiltins\ntuple\n" + lazy + b"\x81\x85\x81.",
        "newobj_ex": P4 + b"cbuiltins\ntuple\n" + lazy + b"}\x92\x85}\x92.",
        "ext1": P2 + b"\x82\xf0" + call + b".",
        "ext2": P2 + b"\x83\xf0\x00" + call + b".",
        "ext4": P2 + b"\x84\xf0\x00\x00\x00" + call + b".",
        "build": P2 + b"cfunctools\npartial\ncos\nmkdir\n\x85\x81(cos\nmkdir\n" + text(mark) + b"\x85}Ntb)R.",
        "getattr": P2 + b"c__builtin__\ngetattr\ncos\npath\n" + text("os") + b"\x86R0" + mkdir_call(mark) + b".",
        "thrown away": P2 + mkdir_call(mark) + b"0}.",
        "in a dict": P2 + b"}" + text("a") + mkdir_call(mark) + b"s.",
        "before it breaks": P2 + mkdir_call(mark) + b"\xff\xff",
        "before it ends": P2 + mkdir_call(mark),
        "behind a long text": P2 + text("x" * 70000) + b"0" + mkdir_call(mark) + b".",
        "behind a persistent id": P2 + b"N0" + mkdir_call(mark) + b"Q.",
    }  # fmt: skip


@pytest.mark.parametrize("style", sorted(styles("")))
def test_every_encoding_of_a_call_is_rejected(style, tmp_path, scan_error):
    mark = tmp_path / "mark"
    payload = styles(str(mark))[style]
    copyreg.add_extension("os", "mkdir", 0xF0)
    try:
        for raw in (payload, torch_zip(pickled=payload), old_torch(payload)):
            assert scan_error(raw), style
            for name in ("x", "x.dat", "x.onnx", "x.safetensors"):
                assert scan_error(raw, name, allow_pickle=False), name
        assert not mark.exists()
        try:
            pickle.loads(payload)
        except Exception as exc:  # noqa: BLE001  some break after the harm is done
            assert style.startswith("b") or "persistent" in style, exc
        assert mark.exists(), "the payload is harmless: the test proves nothing"
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF0)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize("position", range(5))
def test_each_pickle_of_an_old_file_is_scanned(position, tmp_path, scan_error):
    mark = tmp_path / "mark"
    frames = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])]
    assert scan_error(b"".join(frames)) is None
    frames[position] = hostile(mark)
    raw = b"".join(frames)
    assert "os.mkdir" in scan_error(raw) or position == 0
    stream = io.BytesIO(raw)
    for _ in range(position + 1):
        pickle.load(stream)
    assert mark.exists()


CALL_ORDERED = b"ccollections\nOrderedDict\n)R"
DTYPE = b"cnumpy\ndtype\n" + text("f8") + b"\x89\x88\x87R"
SWAPPED = b"(K\x03" + text("<") + b"NNN" + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
BYTES = b"c_codecs\nencode\n" + text("12345678") + text("latin1") + b"\x86R"

HARMLESS = {
    "nothing": b"N",
    "ordered with attributes": CALL_ORDERED + b"}" + text("_metadata") + CALL_ORDERED + b"sb",
    "dtype": DTYPE + SWAPPED,
    "scalar": b"cnumpy.core.multiarray\nscalar\n" + DTYPE + SWAPPED + BYTES + b"\x86R",
    "array": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R(K\x01K\x01\x85"
    + DTYPE + b"\x89" + BYTES + b"tb",
    "set": b"c__builtin__\nset\n](K\x01K\x02e\x85R",
    "lightning class": b"}cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n}s",
    "deep": b"(" * 500 + b"t" * 500,
    "all sorts": b"(I00\nL12L\nF1.5\nS'a'\nVb\nG12345678\x8a\x01\x01\x8b\x01\x00\x00\x00\x01K\x01M\x01\x00)]}t",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_models_need_is_allowed(name, scan_error):
    raw = P2 + HARMLESS[name] + b"."
    pickletools.dis(raw, io.StringIO())
    assert scan_error(raw) is None
    assert scan_error(torch_zip({"a/data/0": None}, raw)) is None
    assert scan_error(old_torch(raw, (), b"")) is None


ABUSE = {
    "a class is changed": b"ctorch\nFloatStorage\n}" + text("x") + b"Nsb",
    "a function is changed": b"ctorch._utils\n_rebuild_tensor_v2\n}b",
    "a module is changed": b"cpytorch_lightning.callbacks\nmodel_checkpoint\n}b",
    "attributes are set one by one": CALL_ORDERED + b"N}" + text("__class__") + b"Ns\x86b",
    "a class is made": b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n)\x81",
    "a class is called": b"ctorch\nFloatStorage\n)R",
    "a result is called": CALL_ORDERED + b")R",
    "a text is called": text("x") + b")R",
    "arguments are a list": b"ccollections\nOrderedDict\n]R",
    "another codec": b"c_codecs\nencode\n" + text("x") + text("zlib") + b"\x86R",
    "a codec nobody can tell": b"c_codecs\nencode\n" + text("x") + text("l" * 100) + b"\x86R",
    "dtype of objects": b"cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R",
    "dtype of records": b"cnumpy\ndtype\n" + text("f8,O") + b"\x89\x88\x87R",
    "dtype from a list": b"cnumpy\ndtype\n]\x85R",
    "dtype gets fields": DTYPE + b"(K\x03" + text("<") + b"N)}" + b"K\x08K\x01K\x00tb",
    "dtype gets flags": DTYPE + b"(K\x03" + text("<") + b"NNN" + b"K\x08K\x01K\x3ftb",
    "scalar from a list": b"cnumpy.core.multiarray\nscalar\n" + DTYPE + b"]\x86R",
    "array of a list": HARMLESS["array"].replace(BYTES, b"]"),
    "array of another class": HARMLESS["array"].replace(b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n"),
    "items of a class": b"ctorch\nFloatStorage\n" + text("a") + b"Ns",
    "append to an object": CALL_ORDERED + b"Na",
    "buffer": b"\x97",
    "text persistent id": b"Px\n",
    "key of a memo": b"Nr\xff\xff\xff\x7f",
    "no such protocol": b"\x80\x05",
    "a pair too few": b"}(Nu",
    "two results": b"NN",
    "open mark": b"(N",
    "empty stack": b"00",
    "dotted into a class": b"\x8c\x05torch\x8c\x0eSize.__class__\x93",
    "dotted into an allowed class": b"\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93",
    "almost an allowed name": b"ccollections\nOrderedDict \n",
    "names with escapes": b"ccollections\nOrdered\\x44ict\n",
    "names with a line end": b"\x8c\x0bcollections\x8c\x0cOrderedDict\n\x93",
    "name nobody can tell": b"\x8c\x0bcollectionsN\x93",
    "name longer than kept": text("collections") + text("O" * 100) + b"\x93",
    "name from a call": BYTES + text("system") + b"\x93",
}


@pytest.mark.parametrize("name", sorted(ABUSE))
def test_allowed_names_only_as_models_use_them(name, scan_error):
    raw = P2 + ABUSE[name] + b"."
    assert scan_error(raw)
    assert scan_error(torch_zip({"a/data/0": None}, raw))
    assert scan_error(old_torch(raw, (), b""))


BAD_STORAGES = {
    "module": b"(" + text("module") + b"ctorch\nFloatStorage\n" + text("f.py") + text("code") + b"tQ",
    "a text": text("storage") + b"Q",
    "too short": b"(" + text("storage") + b"tQ",
    "of a class that is none": storage().replace(b"FloatStorage", b"float32"),
    "of a name and no class": storage().replace(b"ctorch\nFloatStorage\n", text("FloatStorage")),
    "a path as key": storage(key="../x"),
    "a place that is none": storage().replace(text("cpu"), text("cpu; rm")),
    "a view": storage()[:-2] + b"(NNNttQ",
    "told twice, differently": storage() + b"0" + storage(length=8),
    "negative": storage(length=-1),
}


@pytest.mark.parametrize("name", sorted(BAD_STORAGES))
def test_storages(name, scan_error):
    assert "stor" in scan_error(torch_zip(pickled=P2 + BAD_STORAGES[name] + b"."))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x00J\x04", b"K\x01J\x04"),  # begins one later: ends behind the storage
        (b"\x85K\x01\x85", b"\x85K\x02\x85"),  # every second of four
        (b"\x85K\x01\x85", b"\x85)"),  # a stride too few
        (b"\x85K\x01\x85", b"\x85J\xff\xff\xff\xff\x85"),
        (b"\x89ccoll", b"Nccoll"),
        (b"ccollections\nOrderedDict\n)Rt", b"]t"),
    ],
)
def test_a_tensor_stays_within_its_storage(old, new, scan_error):
    raw = P2 + tensor() + b"."
    assert scan_error(torch_zip(pickled=raw)) is None
    assert raw.count(old) == 1
    assert "_rebuild_tensor_v2" in scan_error(torch_zip(pickled=raw.replace(old, new)))


NO_HOOKS = b"ccollections\nOrderedDict\n)R"


@pytest.mark.parametrize("place", ["cuda:0", "privateuseone:0", "mps", "xpu:12", "hpu", "meta"])
@pytest.mark.parametrize("hooks", [NO_HOOKS, b"N"])
def test_tensors_of_other_versions_and_devices(place, hooks, scan_error):
    """torch 0.4 and DirectML write None for the hooks; a device may have any name."""
    raw = P2 + tensor().replace(text("cpu"), text(place)).replace(NO_HOOKS, hooks) + b"."
    assert scan_error(torch_zip(pickled=raw)) is None
    wrapped = P2 + b"ctorch._utils\n_rebuild_parameter\n(" + raw[2:-1] + b"\x88" + hooks + b"tR."
    assert scan_error(torch_zip(pickled=wrapped)) is None
    assert scan_error(torch_zip(pickled=raw.replace(hooks + b"tR", b"\x88tR")))


@pytest.mark.parametrize(
    ("old", "new"), [(b"K\x00J", b"K\x01J"), (b"K\x01\x85t", b"K\x01\x85Nt"), (b"K\x01\x85t", b"NtN0")]
)
def test_tensors_of_torch_0_3(old, new, scan_error):
    raw = P2 + old_tensor() + b"."
    assert scan_error(torch_zip(pickled=raw)) is None
    assert scan_error(old_torch(raw)) is None
    assert raw.count(old) == 1
    assert scan_error(torch_zip(pickled=raw.replace(old, new)))


@pytest.mark.parametrize(
    ("kind", "size"),
    [("Bool", 1), ("Char", 1), ("Short", 2), ("ComplexFloat", 8), ("ComplexDouble", 16), ("BFloat16", 2), ("Half", 2)],
)
def test_tensors_of_all_numbers(kind, size, scan_error):
    raw = P2 + tensor(kind=kind + "Storage") + b"."
    assert scan_error(torch_zip({"a/data/0": bytes(4 * size)}, raw)) is None
    assert "not the data of any tensor" in scan_error(torch_zip({"a/data/0": bytes(4 * size + 1)}, raw))
    assert scan_error(torch_zip({"a/data/0": bytes(4 * size)}, raw.replace(b"ctorch\n", b"ctorch.cuda\n")))


def test_the_names_of_all_disallowed_imports_are_reported(scan_error):
    raw = P2 + b"".join(b"cm%d\nf\n0" % number for number in range(7)) + mkdir_call("x") + b"."
    assert "would import m0.f, m1.f, m2.f, m3.f, m4.f and 3 more when loaded" in scan_error(raw)


def test_all_opcodes_of_this_python_are_known():
    assert {code: name for code, (name, _form) in pickle_opcodes.OPCODES.items()} == {
        ord(opcode.code): opcode.name for opcode in pickletools.opcodes
    }


def test_python_maps_no_allowed_name_to_another():
    for name in pickle_allowlist.ALLOWED_GLOBALS:
        module, attribute = name.split(" ")
        mapped = _compat_pickle.NAME_MAPPING.get((module, attribute))
        assert mapped is None or "set" in mapped
        assert _compat_pickle.IMPORT_MAPPING.get(module, module) in (module, "builtins")


def follow(raw: bytes) -> None:
    pickles.PickleScan(pickle_opcodes.ByteWindow(io.BytesIO(raw), 0, len(raw)), {}).run()


class Watching(pickle._Unpickler):  # type: ignore[name-defined]  # the one in Python, which calls find_class for all
    """Loads with dummies, and notes what it was asked for."""

    def find_class(self, module, name):
        self.requested.add(f"{module} {name}")
        return Dummy

    def persistent_load(self, pid):
        return pid


class Dummy(dict):
    def __init__(self, *_args, **_kwargs):
        pass

    def __setstate__(self, state):
        pass

    def append(self, _item):
        pass


def test_mutations_of_a_real_pickle_never_request_more():
    """What passes the scan asks a loader for allowed names only; what does not raises ContentError and nothing else."""
    chance = random.Random(20261123)
    seeds = [model("0", "1"), *(P2 + value + b"." for value in HARMLESS.values())]
    seeds += [pickle.dumps({"a": [1, 2.5, "x", (b"y", {3})], "b": os.getcwd()}, protocol=p) for p in range(6)]
    passed = 0
    for _ in range(6000):
        raw = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(raw))
            step = chance.randrange(4)
            if step == 0:
                raw[place] = (
                    chance.choice(list(pickle_opcodes.OPCODES)) if chance.random() < 0.7 else chance.randrange(256)
                )
            elif step == 1:
                del raw[place : place + chance.randrange(1, 9)]
            elif step == 2:
                raw[place:place] = bytes(chance.choice(seeds)[place : place + chance.randrange(1, 30)])
            else:
                raw[place:place] = chance.choice((b"cos\nmkdir\n", b"\x93", b"R", b"\x81", b"h\x01", b"2", b"0"))
            raw = raw or bytearray(b".")
        try:
            follow(bytes(raw))
        except ContentError:
            continue
        passed += 1
        watching = Watching(io.BytesIO(bytes(raw)), encoding="utf-8", fix_imports=False)
        watching.requested = set()
        try:
            watching.load()
        except Exception:  # noqa: BLE001  dummies are no tensors
            pass
        assert watching.requested <= pickle_allowlist.ALLOWED_GLOBALS, bytes(raw)
    assert passed > 200  # else the mutations are too rough to tell anything
