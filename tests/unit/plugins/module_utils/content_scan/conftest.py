"""Hostile and harmless files, built here; what is called dangerous makes a directory when a loader reads it."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.scan import scan_file
from ansible_collections.sdops.webui.plugins.module_utils.errors import ContentError
from helpers.paths import ROOT

DATA = Path(__file__).parent / "data"
REAL = sorted(DATA.glob("torch-*/*.pt"))
MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def mkdir_call(mark: Path | str) -> bytes:
    """Opcodes that call os.mkdir: protocol 2, without beginning and end."""
    return b"cos\nmkdir\n" + text(str(mark)) + b"\x85R"


def hostile(mark: Path | str = "mark") -> bytes:
    return b"\x80\x02" + mkdir_call(mark) + b"."


def storage(key: str = "0", length: int = 4, kind: str = "FloatStorage") -> bytes:
    """Opcodes that leave a storage on the stack."""
    number = b"J" + struct.pack("<i", length)
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number + b"tQ"


def tensor(key: str = "0", length: int = 4, kind: str = "FloatStorage") -> bytes:
    """Opcodes that leave a tensor of one dimension on the stack."""
    number = b"J" + struct.pack("<i", length)
    rest = b"K\x00" + number + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(key, length, kind) + rest + b"R"


def old_tensor(key: str = "0", length: int = 4, kind: str = "FloatStorage") -> bytes:
    """The same as torch wrote it before 0.4."""
    number = b"J" + struct.pack("<i", length)
    return b"ctorch._utils\n_rebuild_tensor\n(" + storage(key, length, kind) + b"K\x00" + number + b"\x85K\x01\x85tR"


def model(*keys: str) -> bytes:
    """A pickle of a dict with one tensor of four floats for each key."""
    return b"\x80\x02}(" + b"".join(text("w" + key) + tensor(key) for key in keys) + b"u."


NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def torch_zip(members: dict[str, bytes] | None = None, pickled: bytes | None = None, **options: int) -> bytes:
    """A zip as torch writes it, with one tensor; ``members`` come on top (or instead), None takes one away."""
    content: dict[str, bytes | None] = {
        "a/data.pkl": model("0") if pickled is None else pickled,
        "a/data/0": NUMBERS,
        "a/version": b"3\n",
    }
    content.update(members or {})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as bundle:
        for name, data in content.items():
            if data is not None:
                bundle.writestr(zipfile.ZipInfo(name), data, options.get("compression"))
    return out.getvalue()


def old_torch(pickled: bytes | None = None, keys: tuple[str, ...] = ("0",), numbers: bytes | None = None) -> bytes:
    """A file as torch wrote it before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    frames = [pickle.dumps(value, protocol=2) for value in (MAGIC, 1001, system, list(keys))]
    frames.insert(3, model("0") if pickled is None else pickled)
    data = struct.pack("<q", 4) + NUMBERS if numbers is None else numbers
    return b"".join(frames) + data


SCAN_SCRIPT = """
import resource, sys, time
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.scan import scan_file
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    scan_file(sys.argv[1], sys.argv[2], True)
    print("passed", end=" ")
except Exception as exc:
    print(type(exc).__name__, end=" ")
print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def cost(path: Path, name: str = "x.ckpt") -> tuple[str, float, float]:
    """Verdict, seconds of the processor, and MiB above what the interpreter had before."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".work" / "collections")}
    command = [sys.executable, "-c", SCAN_SCRIPT, str(path), name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    word, seconds, kilobytes = done.stdout.split()
    return word, float(seconds), int(kilobytes) / 1024


@pytest.fixture
def scan_error(tmp_path):
    """Judge bytes (or a file) under a name: the reason of a refusal, or None."""

    def scan(content: bytes | Path, name: str = "x.ckpt", allow_pickle: bool = True) -> str | None:
        path = content
        if isinstance(content, bytes):
            path = tmp_path / "judged"
            path.write_bytes(content)
        try:
            scan_file(str(path), name, allow_pickle)
        except ContentError as exc:
            return str(exc)
        return None

    return scan
