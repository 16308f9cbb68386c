# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a file what its name says, and can it be loaded without running somebody's code?

safetensors: https://github.com/huggingface/safetensors (format section). Pickles: opcodes are read, never run, and every
global must be on a short list; a scanner is no guarantee, which is why pickles are refused unless allowed.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import struct
import zipfile
from typing import BinaryIO, List

from ..errors import SdopsError

PICKLES = (".ckpt", ".pt", ".bin", ".pth")
TENSOR_DATA = re.compile(r"^[^/]+/data/\d+$")
MAX_HEADER = 100_000_000
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
ALLOWED_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_parameter",
    "torch.nn.parameter Parameter",
    "torch Size",
    "torch Tensor",
    *(
        "torch %sStorage" % t
        for t in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
    *(
        "torch %s" % t
        for t in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    ),
    "numpy.core.multiarray scalar",
    "numpy.core.multiarray _reconstruct",
    "numpy dtype",
    "numpy ndarray",
    "_codecs encode",
}


class ContentError(SdopsError):
    """A file whose content must not be used."""


def check_safetensors(path: str) -> None:
    """Raise ContentError unless header, tensors and file size agree to the byte."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        head = handle.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ContentError("it is no safetensors file (a web page saved as a model, or cut off)")
        raw = handle.read(length)
    try:
        if not raw.startswith(b"{"):
            raise ValueError
        header = json.loads(raw.decode("utf-8"))
        tensors = sorted(
            (tuple(t["data_offsets"]), t["dtype"], t["shape"]) for name, t in header.items() if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ContentError("its safetensors header cannot be read") from exc
    end = 0
    for (begin, stop), dtype, shape in tensors:
        count = 1
        for dimension in shape:
            count *= dimension
        if begin != end or stop < begin or (dtype in BITS and (stop - begin) * 8 != count * BITS[dtype]):
            raise ContentError("its safetensors header does not add up")
        end = stop
    if 8 + length + end != size:
        raise ContentError("its safetensors header promises %d bytes, but it has %d" % (8 + length + end, size))


def _globals(stream: BinaryIO) -> List[str]:
    """Every global that the pickles in ``stream`` would import, as "module name"."""
    found: List[str] = []
    while True:
        strings: List[str] = []
        memo = {}
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(argument)
            elif opcode.name == "STACK_GLOBAL":
                found.append(" ".join(strings[-2:]) if len(strings) >= 2 else "? ?")
            elif opcode.name.startswith("EXT"):
                found.append("copyreg extension")
            elif isinstance(argument, str) and "UNICODE" in opcode.name:
                strings.append(argument)
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = strings[-1] if strings else "?"
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = strings[-1] if strings else "?"
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                strings.append(memo.get(argument, "?"))
        # old torch files hold several pickles in a row, then raw data
        position = stream.tell()
        if stream.read(1) != b"\x80":
            return found
        stream.seek(position)


def check_pickle(path: str) -> None:
    """Raise ContentError unless every pickle in the file imports only what tensors need."""
    try:
        if zipfile.is_zipfile(path):
            found: List[str] = []
            with zipfile.ZipFile(path) as bundle:
                for member in bundle.infolist():
                    if TENSOR_DATA.match(member.filename):
                        continue  # raw numbers: torch reads them as nothing else
                    content = bundle.read(member)
                    # by content and not by name alone: anything else in there could be loaded as a pickle
                    if member.filename.lower().endswith(".pkl") or content.startswith(b"\x80"):
                        found += _globals(io.BytesIO(content))
        else:
            with open(path, "rb") as handle:
                if handle.read(1) != b"\x80":
                    raise ContentError("it is neither a zip nor a pickle")
                handle.seek(0)
                found = _globals(handle)
    except (ValueError, IndexError, EOFError, zipfile.BadZipFile) as exc:
        raise ContentError("it cannot be read as a pickle (%s)" % exc) from exc
    strangers = sorted(set(found) - ALLOWED_GLOBALS)
    if strangers:
        raise ContentError("it would import %s when loaded" % ", ".join(s.replace(" ", ".") for s in strangers[:5]))


def check(path: str, name: str, allow_pickle: bool) -> None:
    """Judge ``path`` by the extension of ``name``. Raises ContentError with the reason and what to do."""
    extension = os.path.splitext(name)[1].lower()
    try:
        if extension == ".safetensors":
            check_safetensors(path)
        elif extension in PICKLES:
            refuse_pickle(name, allow_pickle)
            check_pickle(path)
    except ContentError as exc:
        raise ContentError("%s was not put in place: %s." % (name, str(exc).rstrip("."))) from exc


def refuse_pickle(name: str, allow_pickle: bool) -> None:
    """Raise ContentError for a pickle that is not allowed; known before a byte is fetched."""
    if os.path.splitext(name)[1].lower() in PICKLES and not allow_pickle:
        raise ContentError(
            "%s is a pickle, which can run code when it is loaded; take a .safetensors if there is one, or set "
            "allow_pickle: true to have it scanned and accepted" % name
        )
