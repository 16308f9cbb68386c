"""A safetensors file is whole, and its header says nothing twice and nothing else."""

from __future__ import annotations

import json
import os
import random
import struct
from pathlib import Path

import pytest
import safetensors
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.safetensors import (
    DTYPE_BITS,
    MAX_HEADER,
    check_safetensors,
)
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError

from lab.servers.build.models import checkpoint_tensors, lora_tensors, safetensors_bytes

from .conftest import cost, hostile, old_torch, torch_zip


def file_of(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(begin: int, end: int, shape: object = None, dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


GOOD = {
    "builder": safetensors_bytes("x", checkpoint_tensors(1, "F16")),
    "lora": safetensors_bytes("x", lora_tensors(1), ss_tag_frequency=json.dumps({"a": {'b " \\ \n é': 1}})),
    "no tensors": file_of({}),
    "only metadata": file_of({"__metadata__": {}}),
    "padded": file_of(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   ', b"xx"),
    "spaced": file_of(b'{ "a" :\n{"data_offsets" : [ 0 , 2 ] ,\t"shape":[ 2 ], "dtype":"U8" } }', b"xx"),
    "scalar": file_of({"a": entry(0, 4, [])}, bytes(4)),
    "empty tensor": file_of({"a": entry(0, 0, [0, 3]), "b": entry(0, 4)}, bytes(4)),
    "out of order": file_of({"b": entry(4, 8), "a": entry(0, 4)}, bytes(8)),
    "other alphabets": file_of('{"模型":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.encode(), b"x"),
    "half bytes": file_of({"a": entry(0, 3, [6], "F4")}, bytes(3)),
    "type of tomorrow": file_of({"a": entry(0, 3, [5], "F3_E1M1")}, bytes(3)),
    "unknown field": file_of({"a": {**entry(0, 4), "x": 1}}, bytes(4)),
    "unknown fields of all sorts": file_of(
        {"a": {**entry(0, 4), "x": [None, {"y": [-1.5, 1e9, True]}, "z", [], {}]}}, bytes(4)
    ),
    "numbers of all sorts": file_of(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":[1e+100,1E-007,-0.%s,%s]}}' % (b"1" * 60, b"9" * 60),
        b"x",
    ),
    "metadata null": file_of({"__metadata__": None}),
    "a length like gzip": file_of({"__metadata__": {"a": "x" * (0x8B1F - 27)}}),
    "a length like a page": file_of({"__metadata__": {"a": "x" * (0x683C - 27)}}),
    # its length begins as a pickle of protocol 2 does
    "640 bytes of header": file_of(json.dumps({"__metadata__": {"a": "x" * 613}}).encode()),
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_whole_files_pass(name, scan_error):
    assert scan_error(GOOD[name], "x.safetensors", allow_pickle=False) is None


def test_a_length_like_a_pickle_is_no_pickle(scan_error):
    assert GOOD["640 bytes of header"].startswith(b"\x80\x02")
    assert scan_error(GOOD["640 bytes of header"], "x", allow_pickle=False) is None


def opens(raw: bytes, path: Path) -> bool:
    path.write_bytes(raw)
    try:
        with safetensors.safe_open(path, "np") as opened:
            list(opened.keys())
    except Exception:  # noqa: BLE001  its own error, and others of Rust
        return False
    return True


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_library_opens_what_passes(name, tmp_path):
    """The library ``safetensors`` is the oracle. It knows the types of today only."""
    assert opens(GOOD[name], tmp_path / "x") is (name != "type of tomorrow")


# Stricter than the library, as docs/downloads.md says: what two readers could read in two ways, or no writer writes.
STRICTER = {
    "space first", "metadata key twice", "metadata key twice, escaped", "too many dimensions", "long name",
}  # fmt: skip
FOUR = {"a": entry(0, 4)}
BAD = {
    "empty": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "length only": struct.pack("<Q", 2),
    "pickle": hostile(),
    "old torch": old_torch(),
    "torch zip": torch_zip(),
    "cut off": file_of(FOUR, bytes(3)),
    "too long": file_of(FOUR, bytes(5)),
    "a zip behind it": file_of(FOUR, bytes(4)) + torch_zip(),
    "header cut off": file_of(FOUR, b"")[:-1],
    "gap at the start": file_of({"a": entry(4, 8)}, bytes(8)),
    "gap": file_of({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)),
    "overlap": file_of({"a": entry(0, 8), "b": entry(4, 8)}, bytes(8)),
    "twice the same place": file_of({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)),
    "backwards": file_of({"a": entry(4, 0, [1])}, bytes(4)),
    "size of another shape": file_of({"a": entry(0, 4, [2])}, bytes(4)),
    "size of another type": file_of({"a": entry(0, 4, [1], "F16")}, bytes(4)),
    "negative size": file_of({"a": entry(0, 4, [-1, -1])}, bytes(4)),
    "fraction": file_of({"a": entry(0, 4, [1.0])}, bytes(4)),
    "true as a size": file_of({"a": entry(0, 4, [True])}, bytes(4)),
    "text as a size": file_of({"a": entry(0, 4, ["1"])}, bytes(4)),
    "nested size": file_of({"a": entry(0, 4, [[1]])}, bytes(4)),
    "too many dimensions": file_of({"a": entry(0, 4, [1] * 65)}, bytes(4)),
    "huge size": file_of({"a": entry(0, 4, [10**30])}, bytes(4)),
    "three offsets": file_of({"a": {**entry(0, 4), "data_offsets": [0, 4, 8]}}, bytes(4)),
    "no type": file_of({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "type null": file_of({"a": entry(0, 4, [1], None)}, bytes(4)),
    "tensor is a list": file_of({"a": [1]}, bytes(4)),
    "metadata with a number": file_of({"__metadata__": {"a": 1}}),
    "metadata with an object": file_of({"__metadata__": {"a": {}}}),
    "metadata twice": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata key twice": file_of(b'{"__metadata__":{"a":"1","a":"2"}}'),
    "metadata key twice, escaped": file_of(b'{"__metadata__":{"a":"1","\\u0061":"2"}}'),
    "tensor twice": file_of(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"xx",
    ),
    "field twice": file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "list": file_of([]),
    "space first": file_of(b" {}"),
    "byte order mark": file_of(b"\xef\xbb\xbf{}"),
    "something behind the header": file_of(b"{}{}"),
    "zeros behind the header": file_of(b"{}\0\0"),
    "comma at the end": file_of(b'{"__metadata__":{},}'),
    "comma in a list": file_of(b'{"a":{"dtype":"U8","shape":[1,],"data_offsets":[0,1]}}', b"x"),
    "leading zero": file_of(b'{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}', b"x"),
    "no UTF-8": file_of(b'{"__metadata__":{"a":"\xff"}}'),
    "control character": file_of(b'{"__metadata__":{"a":"\n"}}'),
    "bad escape": file_of(b'{"__metadata__":{"a":"\\x41"}}'),
    "text without end": file_of(b'{"__metadata__":{"a":"}'),
    "deep": file_of(b'{"a":' * 100_000 + b"}" * 100_000),
    "deep lists": file_of(b'{"a":{"shape":' + b"[" * 100_000),
    "long name": file_of({"a" * 5000: entry(0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_others_do_not(name, scan_error, tmp_path):
    assert scan_error(BAD[name], "x.safetensors", allow_pickle=True)
    assert opens(BAD[name], tmp_path / "x") is (name in STRICTER)


def greedy(name: str) -> bytes:
    if name == "many tensors":
        one = b'"%06d":{"dtype":"F4","shape":[0],"data_offsets":[0,0]}'
        return b"{" + b",".join(one % number for number in range(300_000)) + b"}"
    if name == "long metadata":
        return b'{"__metadata__":{"a":"' + "é\\n".encode() * (MAX_HEADER // 4 - 10) + b'"}}'
    if name == "many metadata":
        return b'{"__metadata__":{' + b",".join(b'"%06d":""' % number for number in range(2_000_000)) + b"}}"
    if name == "spaces":
        return b'{"a":{"shape":[' + b" " * (MAX_HEADER - 20) + b"x"
    return b'{"a":{"shape":[' + b"1," * (MAX_HEADER // 2 - 20)


@pytest.mark.parametrize("name", ["many tensors", "long metadata", "many metadata", "spaces", "numbers"])
def test_a_header_takes_little_memory(name, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(file_of(greedy(name)))
    word, seconds, memory = cost(path, "x.safetensors")
    assert (word == "passed") is (name == "long metadata")
    assert seconds < 20  # some three seconds at most; this machine may be busy
    assert memory < 128


def test_a_longer_header_is_not_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", 2 * MAX_HEADER))
    os.truncate(path, 3 * MAX_HEADER)
    with pytest.raises(ContentError, match="more than"):
        check_safetensors(str(path))


def test_mutations_of_the_header(tmp_path):
    """What passes, ``json`` reads the same way and the library ``safetensors`` opens; what does not raises ContentError and nothing else."""
    chance = random.Random(3)
    seeds = [raw for raw in GOOD.values() if len(raw) < 2000]
    passed = 0
    path = tmp_path / "x"
    for _ in range(4000):
        raw = bytearray(chance.choice(seeds))
        length = struct.unpack("<Q", raw[:8])[0]
        header, data = raw[8 : 8 + length], raw[8 + length :]
        for _ in range(chance.choice((1, 1, 2, 4))):
            place = chance.randrange(len(header) + 1)
            if chance.random() < 0.5:
                header[place : place + 1] = chance.choice(
                    (b'"', b"{", b"}", b",", b"[", b"]", b"0", b"-", b" ", b"\\", b"1e")
                )
            else:
                del header[place : place + chance.randrange(4)]
        path.write_bytes(file_of(bytes(header), bytes(data)))
        try:
            check_safetensors(str(path))
        except ContentError:
            continue
        passed += 1
        tensors = {k: v for k, v in json.loads(bytes(header)).items() if k != "__metadata__"}
        if all(tensor["dtype"] in DTYPE_BITS for tensor in tensors.values()):  # ours lets types of tomorrow pass
            assert opens(file_of(bytes(header), bytes(data)), path), bytes(header)
        assert sum(t["data_offsets"][1] - t["data_offsets"][0] for t in tensors.values()) == len(data)
    assert passed > 50
