"""Files that hold pickles: every byte is accounted for, and no two loaders can see two different things."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab.servers.build.models import embedding_bytes, malicious_bytes, torch_zip_bytes

from .conftest import NUMBERS, REAL, cost, hostile, mkdir_call, model, old_torch, storage, tensor, torch_zip


@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_torch_wrote_passes(path, scan_error):
    assert scan_error(path) is None
    assert "allow_pickle" in scan_error(path, allow_pickle=False)


def test_what_the_builders_make_passes(scan_error):
    assert len(REAL) == 14
    for raw in (torch_zip(), old_torch(), embedding_bytes("x")):
        assert scan_error(raw) is None
        for name in ("x.pt", "X.PT", "x", "x.dat", "x.png", "x.yaml", "x.zip", "x.Safetensors", "x.pt.", "x.onnx"):
            assert scan_error(raw, name, allow_pickle=False), name
        for name in ("x.png", "x.yaml", "x.onnx", "x.safetensors"):
            assert scan_error(raw, name), name
    assert "posix.system" in scan_error(malicious_bytes("x"))


def renamed(raw: bytes, old: bytes, new: bytes, which: int) -> bytes:
    """The same zip with a name changed in one of its two lists: 0 the local header, -1 the central directory."""
    assert len(old) == len(new)
    place = [raw.find(old), raw.rfind(old)][which]
    return raw[:place] + new + raw[place + len(old) :]


def two_of_one_name() -> bytes:
    raw = torch_zip({"a/data.pkk": hostile()})
    return raw.replace(b"a/data.pkk", b"a/data.pkl")


def between_members() -> bytes:
    """A member that stands in no list, as a reader of the stream would find it."""
    raw = torch_zip()
    extra = torch_zip(pickled=hostile())
    masked = extra[: extra.index(b"PK\x03\x04", 4)]
    place = raw.index(b"PK\x01\x02")
    end = bytearray(raw[-22:])
    struct.pack_into("<L", end, 16, place + len(masked))
    return raw[:place] + masked + raw[place:-22] + bytes(end)


def commented() -> bytes:
    out = io.BytesIO(torch_zip())
    with zipfile.ZipFile(out, "a") as bundle:
        bundle.comment = hostile()
    return out.getvalue()


def encrypted() -> bytes:
    raw = bytearray(torch_zip())
    struct.pack_into("<H", raw, raw.index(b"PK\x01\x02") + 8, 1)
    return bytes(raw)


ZIPS = {
    "hostile data.pkl": torch_zip(pickled=hostile()),
    "hostile as a second tensor": torch_zip({"a/data/1": hostile()}),
    "hostile instead of a tensor": torch_zip({"a/data/0": hostile()}),
    "hostile of the tensor's size, below another root": torch_zip({"b/data/0": NUMBERS}),
    "a second data.pkl in another case": torch_zip({"a/DATA.PKL": hostile()}),
    "a second data.pkl below another root": torch_zip({"b/data.pkl": hostile()}),
    "a second data.pkl of the same name": two_of_one_name(),
    "only another case": torch_zip({"a/data.pkl": None, "a/Data.pkl": model("0")}),
    "another pickle": torch_zip({"a/more.pkl": hostile()}),
    "torchscript": torch_zip({"a/constants.pkl": hostile(), "a/code/x.py": b"import os"}),
    "no root": torch_zip({"data.pkl": hostile()}),
    "root that climbs": torch_zip().replace(b"a/", b"./"),
    "a folder": torch_zip({"a/": b""}),
    "a zip in it": torch_zip({"a/x.zip": torch_zip(pickled=hostile())}),
    "a pickle as version": torch_zip({"a/version": hostile()}),
    "a pickle as serialization id": torch_zip({"a/.data/serialization_id": hostile()}),
    "compressed": torch_zip(compression=zipfile.ZIP_DEFLATED),
    "a bomb": torch_zip({"a/data/0": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED),
    "encrypted": encrypted(),
    "bytes before it": b"\x80\x02}." + torch_zip(),
    "a pickle before it": hostile() + torch_zip(),
    "an old torch file before it": old_torch() + torch_zip(),
    "bytes behind it": torch_zip() + b"\0",
    "a pickle in its comment": commented(),
    "a member in no list": between_members(),
    "other local name": renamed(torch_zip(), b"a/data.pkl", b"a/evil.pkl", 0),
    "other name in the list": renamed(torch_zip(), b"a/data/0", b"a/data/1", -1),
    "behind its pickle": torch_zip(pickled=model("0") + hostile()),
    "no data.pkl": torch_zip({"a/data.pkl": None}),
    "no version": torch_zip({"a/version": None}),
    "no data": torch_zip({"a/data/0": None}),
    "data too short": torch_zip({"a/data/0": NUMBERS[:-1]}),
    "empty zip": b"PK\x05\x06" + bytes(18),
    "cut off": torch_zip()[:-30],
    "cut off early": torch_zip()[:100],
}


@pytest.mark.parametrize("name", sorted(ZIPS))
def test_zips_that_torch_does_not_write(name, scan_error):
    for called in ("x.ckpt", "x", "x.safetensors", "x.onnx"):
        assert scan_error(ZIPS[name], called), called


def test_two_programs_two_things(tmp_path, scan_error):
    """A zip reader finds the harmless zip at the end, a pickle loader the pickle at the start."""
    mark = tmp_path / "mark"
    for tail in (torch_zip(), commented()):
        raw = old_torch(b"\x80\x02" + mkdir_call(mark) + b"0}.", (), b"") + tail
        assert zipfile.is_zipfile(io.BytesIO(raw))
        assert scan_error(raw)
        # even where the pickle is harmless
        assert "zip" in scan_error(old_torch() + tail)
        stream = io.BytesIO(raw)
        for _ in range(4):
            pickle.load(stream)
        assert mark.exists()
        mark.rmdir()


def tar_and_pickle(mark: Path) -> bytes:
    """Its first bytes are a harmless pickle and the header of a tar whose member is another one."""
    first = b"\x80\x02U" + bytes([60]) + b"x" * 60 + b"."
    inner = hostile(mark)
    head = bytearray(tarfile.TarInfo("pickle").tobuf(tarfile.USTAR_FORMAT))
    head[: len(first)] = first
    head[len(first) : 100] = bytes(100 - len(first))
    struct.pack_into("12s", head, 124, b"%011o\0" % len(inner))
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + inner.ljust(512, b"\0") + bytes(1024)


def test_tars_of_the_first_torch(tmp_path, scan_error):
    mark = tmp_path / "mark"
    raw = tar_and_pickle(mark)
    with tarfile.open(fileobj=io.BytesIO(raw)) as bundle:
        pickle.load(bundle.extractfile(bundle.getmembers()[0]))
    assert mark.exists()
    assert pickle.loads(raw) == "x" * 60
    assert "tar" in scan_error(raw)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as bundle:
        member = tarfile.TarInfo("pickle")
        member.size = 8
        bundle.addfile(member, io.BytesIO(b"x" * 8))
    for name in ("x.pt", "x", "x.dat"):
        assert scan_error(plain.getvalue(), name), name
        assert scan_error(plain.getvalue(), name, allow_pickle=False), name


@pytest.mark.parametrize(
    ("magic", "what"),
    [(b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x00", "rar"), (b"\x1f\x8b\x08", "gzip"), (b"BZh9", "bzip2")],
)
def test_other_archives(magic, what, scan_error):
    for name in ("x.ckpt", "x.pt", "x.safetensors"):
        assert what in scan_error(magic + bytes(100), name)


OLD = {
    "behind the last tensor": old_torch() + b"\0",
    "a pickle behind the last tensor": old_torch() + hostile(),
    "cut off in a tensor": old_torch()[:-1],
    "cut off before the tensors": old_torch(numbers=b""),
    "tensor of another length": old_torch(numbers=struct.pack("<q", 3) + NUMBERS),
    "negative length": old_torch(numbers=struct.pack("<q", -1) + NUMBERS),
    "a tensor too many": old_torch(keys=("0", "1")),
    "a tensor twice": old_torch(keys=("0", "0")),
    "no tensors listed": old_torch(keys=(), numbers=b""),
    "another frame": old_torch().replace(struct.pack("<H", 1001), struct.pack("<H", 1002), 1),
    "more pickles than torch writes": pickle.dumps({}, 2) + model("0"),
    "a bare pickle and more": pickle.dumps({"a": 1}, 2) + b"\0",
    "storages without torch": model("0"),
}


@pytest.mark.parametrize("name", sorted(OLD))
def test_old_files_are_whole_and_no_more(name, scan_error):
    assert scan_error(OLD[name])


def test_a_bare_pickle_of_plain_values(scan_error):
    for protocol in range(3):
        assert scan_error(pickle.dumps({"a": [1, 2.5, "x"]}, protocol)) is None


def test_random_numbers_are_no_zip(scan_error):
    """Tensors hold the mark of a zip's end now and then."""
    chance = random.Random(1)
    for at in (0, 4, 7):
        data = bytearray(chance.randbytes(16))
        data[at : at + 4] = b"PK\x05\x06"
        assert scan_error(old_torch(numbers=struct.pack("<q", 4) + bytes(data))) is None
        assert scan_error(torch_zip({"a/data/0": bytes(data)})) is None


def test_mutations_of_whole_files(scan_error, tmp_path):
    """Whatever is done to a file: a verdict and no crash. And no change of a zip's frame goes unseen."""
    chance = random.Random(7)
    seeds = [path.read_bytes() for path in REAL] + [torch_zip(), old_torch(), torch_zip_bytes("x", b"\x80\x02N.")]
    rejected = 0
    for round_ in range(1500):
        raw = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 3))):
            place = chance.randrange(len(raw))
            if chance.random() < 0.5:
                # where the frame is: near a signature
                place = raw.find(b"PK", place) + chance.randrange(46) if raw.find(b"PK", place) >= 0 else place
            place = min(place, len(raw) - 1)
            step = chance.randrange(4)
            if step == 0:
                raw[place] = chance.randrange(256)
            elif step == 1:
                raw[place : place + 4] = chance.choice((b"\xff" * 4, bytes(4), b"PK\x05\x06", b"PK\x03\x04"))
            elif step == 2:
                del raw[place : place + chance.randrange(1, 40)]
            else:
                raw[place:place] = chance.randbytes(chance.randrange(1, 40))
        name = chance.choice(("x.ckpt", "x.ckpt", "x.safetensors", "x.onnx", "x.gguf", "x", "x.yaml", "x.zip"))
        rejected += scan_error(bytes(raw), name, allow_pickle=round_ % 3 > 0) is not None
    assert rejected > 1000


def sparse_zip(path: Path, length: int) -> None:
    """A tensor of ``length`` floats that takes no room on disk, with the large fields where they are needed."""
    with open(path, "wb") as handle:
        listed = []

        def member(name: bytes, data: bytes | int) -> None:
            size = data if isinstance(data, int) else len(data)
            place = handle.tell()
            zip_fields = (min(size, 0xFFFFFFFF), min(size, 0xFFFFFFFF), len(name))
            wide = struct.pack("<HHQQ", 1, 16, size, size) if size >= 0xFFFFFFFF else b""
            handle.write(
                struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, *zip_fields, len(wide)) + name + wide
            )
            if isinstance(data, int):
                handle.seek(size, 1)
            else:
                handle.write(data)
            extra = wide[4:] + (struct.pack("<Q", place) if place >= 0xFFFFFFFF else b"")
            extra = struct.pack("<HH", 1, len(extra)) + extra if extra else b""
            head = struct.pack("<4s6H3L", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, *zip_fields[:2])
            ends = struct.pack("<5H2L", len(name), len(extra), 0, 0, 0, 0, min(place, 0xFFFFFFFF))
            listed.append(head + ends + name + extra)

        number = b"\x8a\x08" + struct.pack("<q", length)
        four = b"J" + struct.pack("<i", 4)
        member(b"a/data.pkl", b"\x80\x02" + tensor().replace(four, number) + b".")
        member(b"a/data/0", length * 4)
        member(b"a/version", b"3\n")
        begin = handle.tell()
        handle.write(b"".join(listed))
        size, end = handle.tell() - begin, handle.tell()
        counts = (len(listed), len(listed), size, begin)
        handle.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *counts))
        handle.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1))
        small = (len(listed), len(listed), size, min(begin, 0xFFFFFFFF))
        handle.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *small, 0))


def sparse_old(path: Path, length: int) -> None:
    number, four = b"\x8a\x08" + struct.pack("<q", length), b"J" + struct.pack("<i", 4)
    raw = old_torch(b"\x80\x02" + tensor().replace(four, number) + b".", numbers=struct.pack("<q", length))
    path.write_bytes(raw)
    os.truncate(path, len(raw) + length * 4)


@pytest.mark.parametrize("make", [sparse_zip, sparse_old])
@pytest.mark.parametrize("gibibytes", [1, 5])
def test_tensor_data_is_not_read(make, gibibytes, tmp_path):
    path = tmp_path / "x.ckpt"
    make(path, gibibytes << 28)
    assert path.stat().st_size > gibibytes << 30
    if path.stat().st_blocks * 512 > 1 << 24:
        pytest.skip("this file system has no sparse files")
    word, seconds, memory = cost(path)
    assert word == "passed"
    assert seconds < 2
    assert memory < 64


GREEDY = {
    "steps": b"\x80\x02" + b"N0" * 3_000_000,
    "kept texts": b"\x80\x02" + b"".join(b"U\x30%048dq%c0" % (i, i % 256) for i in range(400_000)),
    "memo": b"\x80\x02" + b"".join(b"U\x30%048dr%s0" % (i, struct.pack("<I", i)) for i in range(260_000)),
    "tuples": b"\x80\x02" + b"".join(b"J%s\x85\x85" % struct.pack("<i", i) for i in range(150_000)),
    "marks": b"\x80\x02" + b"(" * 1_000_000,
    "nested": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "a text as long as the file": b"\x80\x02\x8d" + struct.pack("<Q", 50_000_000) + bytes(50_000_000) + b".",
    "a text longer than the file": b"\x80\x02\x8d" + struct.pack("<Q", 1 << 62) + bytes(100),
    "a line without end": b"c" + b"x" * 50_000_000,
    "a long number": b"\x80\x02\x8b" + struct.pack("<I", 50_000_000) + b"\x7f" * 50_000_000 + b".",
    "a long decimal": b"I" + b"9" * 50_000_000 + b"\n.",
    "storages": b"\x80\x02" + b"".join(storage(str(i)) + b"0" for i in range(120_000)),
}


@pytest.mark.parametrize("name", sorted(GREEDY))
def test_hostile_pickles_cost_little(name, tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(torch_zip({"a/data/0": None}, GREEDY[name]))
    word, seconds, memory = cost(path)
    assert word in ("ContentError", "passed")
    assert seconds < 30  # some five seconds at most; this machine may be busy
    assert memory < 128


def test_a_large_model_is_scanned_in_time(tmp_path):
    """As many tensors as Stable Diffusion XL has, four times over."""
    keys = [str(number) for number in range(10_000)]
    path = tmp_path / "x.ckpt"
    path.write_bytes(torch_zip({"a/data/0": None, **{f"a/data/{key}": NUMBERS for key in keys}}, model(*keys)))
    word, seconds, memory = cost(path)
    assert word == "passed"
    assert seconds < 15
    assert memory < 64


def with_members(count: int, extra: bytes = b"") -> bytes:
    """A zip of ``count`` tensors that nothing asks for, with ``extra`` in each local header."""
    out, listed = [], []
    place = 0
    for number in [-2, -1, *range(count)]:
        name, data = {-2: (b"a/data.pkl", model("0")), -1: (b"a/version", b"3\n")}.get(
            number, (b"a/data/%d" % number, NUMBERS)
        )
        sizes = (len(data), len(data), len(name))
        out.append(struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, *sizes, len(extra)) + name + extra + data)
        listed.append(
            struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, 0, place) + name
        )
        place += len(out[-1])
    directory = b"".join(listed)
    entries = min(len(listed), 0xFFFF)
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, len(listed), len(listed), len(directory), place)
    large += struct.pack("<4sLQL", b"PK\x06\x07", 0, place + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, len(directory), place, 0)
    return b"".join(out) + directory + large + end


MANY = {
    "members": with_members(99_000),
    "more members than are looked at": with_members(150_000),
    "members with thousands of fields": with_members(1000, struct.pack("<2H", 0x4246, 0) * 16_000),
}


@pytest.mark.parametrize("name", sorted(MANY))
@pytest.mark.parametrize("called", ["x.ckpt", "x.npz", "x.zip", "x.dat"])
def test_many_members_cost_little(name, called, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(MANY[name])
    word, seconds, memory = cost(path, called)
    assert word == "ContentError"
    assert seconds < 15  # some two seconds at most; this machine may be busy
    assert memory < 128
