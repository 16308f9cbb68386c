"""The structure of weight files, read without torch: safetensors, torch zip archives and old torch pickles.

Nothing is computed with the weights; but a file that the real program could not load must not load here either.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pickle
import struct
import zipfile
from typing import Any

SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
MAX_HEADER = 100_000_000
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_PROTOCOL = 1001


class SafetensorError(Exception):
    """A safetensors file that breaks the format; messages end in the format library's own words."""

    def __init__(self, word: str) -> None:
        super().__init__(f"Error while deserializing header: {word}")


def read_safetensors_header(path: str) -> dict[str, Any]:
    """The JSON header of a safetensors file, checked against the file: types, shapes, offsets without holes, length."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise SafetensorError("HeaderTooSmall")
        length = struct.unpack("<Q", start)[0]
        if length > MAX_HEADER:
            raise SafetensorError("HeaderTooLarge")
        if length + 8 > size:
            raise SafetensorError("InvalidHeaderLength")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf8"))
    except ValueError:
        raise SafetensorError("InvalidHeaderDeserialization") from None
    if raw[:1] != b"{" or not isinstance(header, dict):
        raise SafetensorError("InvalidHeaderStart")
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            width, count = SIZES[entry["dtype"]], 1
            for extent in entry["shape"]:
                count *= extent
        except (KeyError, TypeError, ValueError):
            raise SafetensorError("InvalidHeaderDeserialization") from None
        if end - begin != count * width:
            raise SafetensorError("TensorInvalidInfo")
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise SafetensorError("InvalidOffset")
        position = end
    if 8 + length + position != size:
        raise SafetensorError("MetadataIncompleteBuffer")
    return header


def safetensors_metadata(path: str) -> dict[str, Any]:
    """The ``__metadata__`` of a safetensors file, with values that are JSON objects decoded; AssertionError on others."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(2)
        assert length > 2 and start in (b'{"', b"{'"), f"{path} is not a safetensors file"
        try:
            metadata = json.loads(start + file.read(length - 2)).get("__metadata__", {})
        except ValueError:
            return {}
    decoded = {}
    for name, value in metadata.items():
        decoded[name] = value
        if isinstance(value, str) and value.startswith("{"):
            with contextlib.suppress(ValueError):
                decoded[name] = json.loads(value)
    return decoded


class Tensor:
    """What is left of a tensor in a pickle: its shape."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape

    def __setstate__(self, state: Any) -> None:
        pass


class _Inert:
    """Stands for any other permitted class; takes whatever the pickle gives it."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuild_tensor(storage: Any, offset: int, shape: tuple[int, ...], *rest: Any) -> Tensor:
    return Tensor(tuple(shape))


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


class _Unpickler(pickle.Unpickler):
    """Knows the names that weights need and no others, as the real program's safe loading."""

    keys: set

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils":
            if name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
                return _rebuild_tensor
            if name == "_rebuild_parameter":
                return _rebuild_parameter
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return name
        if module == "torch" and name in ("Tensor", "float16", "float32", "float64", "bfloat16", "int64", "device"):
            return _Inert
        if (module, name) in (
            ("torch.nn.modules.container", "ParameterDict"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
            ("pytorch_lightning.callbacks", "ModelCheckpoint"),
            ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
        ):
            return _Inert
        if (module, name) in (("__builtin__", "set"), ("builtins", "set")):
            return set
        raise pickle.UnpicklingError(f"global '{module}/{name}' is forbidden")

    def persistent_load(self, pid: Any) -> Any:
        assert pid[0] == "storage", f"unknown typename for persistent_load: {pid[0]}"
        self.keys.add(str(pid[2]))
        return _Inert()


def _load(file: Any) -> tuple[Any, set]:
    unpickler = _Unpickler(file)
    unpickler.keys = set()
    return unpickler.load(), unpickler.keys


def read_torch(path: str) -> Any:
    """The object of a torch file with tensors reduced to their shapes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inner = next((name for name in names if name.endswith("/data.pkl") or name == "data.pkl"), None)
            if inner is None:
                raise RuntimeError("PytorchStreamReader failed locating file data.pkl: file not found")
            if archive.testzip() is not None:
                raise RuntimeError("PytorchStreamReader failed reading zip archive: a record is damaged")
            with archive.open(inner) as file:
                data, keys = _load(file)
            folder = inner[: -len("data.pkl")]
            for key in sorted(keys):
                if f"{folder}data/{key}" not in names:
                    raise RuntimeError(f"PytorchStreamReader failed locating file data/{key}: file not found")
            return data
    with open(path, "rb") as file:
        if _load(file)[0] != TORCH_MAGIC:
            raise RuntimeError("Invalid magic number; corrupt file?")
        if _load(file)[0] != TORCH_PROTOCOL:
            raise RuntimeError("Invalid protocol version")
        _load(file)  # sizes of C types
        return _load(file)[0]


def read_state_dict(path: str) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape of a checkpoint, VAE or LoRA in either format; raises what is wrong with the file."""
    if path.lower().endswith(".safetensors"):
        header = read_safetensors_header(path)
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    data = read_torch(path)
    if isinstance(data, dict) and isinstance(data.get("state_dict"), dict):
        data = data["state_dict"]
    if not isinstance(data, dict):
        raise TypeError(f"expected a dictionary of tensors in {path}, found {type(data).__name__}")
    return {str(name): value.shape for name, value in data.items() if isinstance(value, Tensor)}


def read_embedding(path: str) -> dict[str, Any]:
    """``{"step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"}`` of a textual inversion file."""
    data = read_state_dict(path) if path.lower().endswith(".safetensors") else read_torch(path)
    extra = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None}
    if isinstance(data, dict) and "string_to_param" in data:
        shapes = [value.shape for value in data["string_to_param"].values()]
        assert len(shapes) == 1, "embedding file has multiple terms in it"
        extra = {name: data.get(name) for name in extra}
        shape, vectors = shapes[0][-1], shapes[0][0]
    elif isinstance(data, dict) and "clip_g" in data and "clip_l" in data:
        both = [getattr(data[name], "shape", data[name]) for name in ("clip_g", "clip_l")]
        shape, vectors = both[0][-1] + both[1][-1], both[0][0]
    elif isinstance(data, dict) and data:
        value = next(iter(data.values()))
        dims = getattr(value, "shape", value)
        if not isinstance(dims, tuple) or not dims:
            raise Exception("Couldn't identify the file as neither textual inversion embedding nor diffuser concept.")
        shape, vectors = dims[-1], dims[0] if len(dims) > 1 else 1
    else:
        raise Exception("Couldn't identify the file as neither textual inversion embedding nor diffuser concept.")
    return {**extra, "shape": shape, "vectors": vectors}
