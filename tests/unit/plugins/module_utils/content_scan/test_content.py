"""What lies under a name: the name must be true, and what came instead of a model is called what it is."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from lab.servers.build.models import checkpoint_tensors, safetensors_bytes

from .conftest import hostile, old_torch, torch_zip

PAGE = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 4265146304\n" % (b"0" * 64)
JSON = b'{"error":"Unauthorized","message":"The creator of this asset requires you to be logged in"}'
XML = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt", "x.bin", "x.gguf", "x.onnx"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAGE, "web page"),
        (b"\xef\xbb\xbf \r\n <HTML lang=en>", "web page"),
        (POINTER, "git-lfs pointer"),
        (JSON, "requires you to be logged in"),
        (b"[\n  1\n]\n", "JSON answer"),
        (XML, "expired address"),
        (b"", "empty"),
    ],
)
def test_answers_saved_as_models(name, content, message, scan_error):
    for allowed in (True, False):
        reason = scan_error(content, name, allow_pickle=allowed)
        assert message in reason
        assert reason.startswith(f"{name} was not put in place: it is ")


def test_answers_saved_as_something_else(scan_error):
    for name in ("x.yaml", "x.png"):
        assert "web page" in scan_error(PAGE, name)
    for name in ("x.yaml", "x.txt", "x.md", "x"):
        assert "git-lfs" in scan_error(POINTER, name)
    assert scan_error(PAGE, "x.html") is None
    assert scan_error(PAGE, "README.md") is None


def field(number: int, data: bytes) -> bytes:
    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    return varint(number << 3 | 2) + varint(len(data)) + data


ONNX = b"\x08\x07" + field(2, b"pytorch") + field(7, b"\x0a\x02xy" * 100) + field(8, b"\x10\x0b") + field(14, b"a")
GGUF = b"GGUF" + struct.pack("<LQQ", 3, 1, 2) + bytes(200)
WEBP = b"RIFF" + struct.pack("<L", 20) + b"WEBPVP8 " + bytes(12)
TRUE = [
    ("x.onnx", ONNX),
    ("x.gguf", GGUF),
    ("x.yaml", b"model:\n  base_learning_rate: 1.0e-04\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n"),
    ("x.yaml", "# 中文\ncond_stage_key: txt\nconfig:\n  a: [1]\n".encode()),
    ("x.yml", b""),
    ("x.txt", b"cat\ndog\n"),
    ("x.json", b' {"_class_name": "AutoencoderKL"}\n'),
    ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(50)),
    ("x.webp", WEBP),
    ("x.jpg", b"\xff\xd8\xff\xe0" + bytes(50)),
    ("x.md", b"# read me\n"),
    ("x.zip", torch_zip({"a/data.pkl": None, "x.txt": b"hello"})),
    ("x.whatever", bytes(range(256))),
    ("x.npy", b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n" + bytes(8)),
    ("x.safetensors", safetensors_bytes("x", checkpoint_tensors(1, "F16"))),
]


@pytest.mark.parametrize(("name", "content"), TRUE, ids=[f"{name}-{index}" for index, (name, _) in enumerate(TRUE)])
def test_true_names_pass_in_any_case(name, content, scan_error):
    for called in (name, name.upper()):
        assert scan_error(content, called, allow_pickle=False) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.onnx", ONNX[:-1]),
        ("x.onnx", ONNX + b"\0"),
        ("x.onnx", ONNX[:11]),
        ("x.onnx", bytes(100)),
        ("x.onnx", b"\x89PNG\r\n\x1a\n"),
        ("x.gguf", GGUF[:20]),
        ("x.gguf", b"GGUF" + struct.pack("<LQQ", 3, 1 << 40, 2)),
        ("x.gguf", ONNX),
        ("x.yaml", b"a: \xff\xfe\n"),
        ("x.yaml", b"a: \0\n"),
        ("x.yaml", GGUF),
        ("x.txt", b"\x89PNG"),
        ("x.json", b"model:\n"),
        ("x.json", PAGE),
        ("x.png", WEBP),
        ("x.webp", WEBP[:20]),
        ("x.webp", b"\x89PNG\r\n\x1a\n"),
        ("x.SAFETENSORS", GGUF),
    ],
)
def test_false_names_do_not(name, content, scan_error):
    assert scan_error(content, name)


NUMPY_OBJECTS = b"\x93NUMPY\x01\x00\x39\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n" + hostile()
PICKLES = {
    "protocol 0": b"cos\nsystem\n(S'id'\ntR.",
    "protocol 1": b"cos\nsystem\n(U\x02idtR.",
    "protocol 2": hostile(),
    "protocol 4": b"\x80\x04\x95\x0a\0\0\0\0\0\0\0\x8c\x02os\x8c\x03dup\x93.",
    "torch zip": torch_zip(),
    "old torch": old_torch(),
}


@pytest.mark.parametrize("kind", sorted(PICKLES))
def test_a_pickle_is_one_under_any_name(kind, scan_error):
    raw = PICKLES[kind]
    for name in (
        "x.ckpt",
        "x.CKPT",
        "x.Pt",
        "x.pth",
        "x.bin",
        "x.pkl",
        "x.PICKLE",
        "x.th",
        "x.pt.",
        "x.pt ",
        "x",
        "x.d",
    ):
        assert "allow_pickle" in scan_error(raw, name, allow_pickle=False), name
    harmful = "torch" not in kind
    for name in ("x.ckpt", "x.pkl", "x", "x.d"):
        assert bool(scan_error(raw, name, allow_pickle=True)) is harmful, name
    for name in ("x.safetensors", "x.onnx", "x.yaml", "x.json", "x.txt", "x.png", "x.webp", "x.gguf"):
        for allowed in (True, False):
            assert scan_error(raw, name, allow_pickle=allowed), name


def test_zips_and_arrays_under_their_own_names(scan_error):
    for name in ("x.zip", "x.npz", "x.whl"):
        assert "allow_pickle" in scan_error(torch_zip(), name, allow_pickle=False)
        assert scan_error(torch_zip(pickled=hostile()), name)
        assert scan_error(torch_zip({"a/data.pkl": None, "a/DATA.PKL": hostile()}), name)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("x.txt", b"x" * 1000)
        bundle.comment = b"0123abc"
    assert scan_error(out.getvalue(), "x.zip", allow_pickle=False) is None
    for name in ("x.npy", "x"):
        assert scan_error(NUMPY_OBJECTS, name, allow_pickle=False)
        assert scan_error(NUMPY_OBJECTS, name, allow_pickle=True)


def test_weights_under_the_name_of_a_pickle(scan_error):
    assert scan_error(TRUE[-1][1], "x.ckpt")
    assert scan_error(GGUF, "x.bin")


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nmouse\n",
        b"class\nname\nRabbit\n",
        "cuisine\nété\n".encode() * 500,
        b"Python 3.10\nPillow\n",
        b"In the beginning\nthere was " + b"x" * 9000,
        b"(Some) words. And more.\n",
        b"" + bytes(4096),
        bytes(range(256)) * 20,
        b"N" * 5,
        b"Nab",
    ],
)
def test_texts_and_numbers_are_no_pickles(content, scan_error):
    for name in ("x.dat", "x.model", "x.md", "x"):
        assert scan_error(content, name, allow_pickle=False) is None


HEAD = "{'descr': %s, 'fortran_order': False, 'shape': (1, 2), }"


def array(descr: str) -> bytes:
    head = (HEAD % descr).encode() + b"    \n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)


@pytest.mark.parametrize(
    "descr", ["'<f4'", "'|b1'", "'<c16'", "'|S12'", "'<U3'", "'|V8'", "'<M8[ns]'", "[('a', '<f4'), ('é', '|u1')]"]
)
def test_plain_arrays(descr, scan_error):
    """numpy is the oracle: it reads the array without pickles."""
    numpy = pytest.importorskip("numpy")
    raw = array(descr)
    numpy.load(io.BytesIO(raw), allow_pickle=False) if "12" not in descr and "16" not in descr else None
    for name in ("x.npy", "x.dat"):
        assert scan_error(raw, name, allow_pickle=False) is None
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr("a.npy", raw)
    assert scan_error(out.getvalue(), "x.npz", allow_pickle=False) is None


@pytest.mark.parametrize(
    "descr",
    ["'|O'", "'O'", "'object'", "'\\x4f'", "'\\117'", "[('a', '<f4'), ('b', '|O')]", "[('a', [('b', 'O')])]", "'f4,O'"],
)
def test_arrays_of_objects(descr, scan_error):
    numpy = pytest.importorskip("numpy")
    raw = array(descr)
    with pytest.raises(ValueError):
        numpy.load(io.BytesIO(raw), allow_pickle=False)
    for name in ("x.npy", "x.npz", "x.dat", "x"):
        assert "allow_pickle" in scan_error(raw, name, allow_pickle=False)
        assert scan_error(raw, name)
