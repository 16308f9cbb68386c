# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a file what its name says, and can it be loaded without running somebody's code?

The name says what the WebUI will do with a file, the content what a loader could make of it; both must be harmless. A scan
is no guarantee, which is why pickles are refused unless they are allowed.
"""

from __future__ import annotations

import os

from .lookalikes import LFS, LOOKS, answer, check_looks, stranger
from .pickles import looks_like_pickle
from .refusal import ContentError, UnsafeError
from .safetensors import check_safetensors
from .torch_files import ZIP_STARTS, check_pickle, is_tar

__all__ = ["ContentError", "UnsafeError", "check", "check_pickle", "check_safetensors", "refuse_pickle"]

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".th", ".pkl", ".pickle", ".joblib")
WEIGHTS = (*PICKLES, ".safetensors", ".gguf", ".onnx")
ARCHIVES = (".zip", ".npz", ".whl")  # zips that nobody loads as a model


def _extension(name: str) -> str:
    return os.path.splitext(name.rstrip(". "))[1].lower()


def _names_a_pickle(path: str) -> bool:
    """Whether a zip could have torch's pickle in it. Names stand in zips as they are; so no directory need be believed."""
    with open(path, "rb") as handle:
        rest = b""
        for block in iter(lambda: handle.read(1 << 20), b""):
            if b"data.pkl" in (rest + block).lower():
                return True
            rest = block[-7:]
    return False


def _numpy_objects(head: bytes) -> bool:
    """Whether an array holds objects, which are a pickle behind its header."""
    wide = head[6:7] != b"\x01"
    length = int.from_bytes(head[8 : 12 if wide else 10], "little")
    begin = 12 if wide else 10
    return begin + length > len(head) or b"O" in head[begin : begin + length]


def _is_pickle(path: str, extension: str, head: bytes) -> bool:
    """Whether a loader of pickles would take it, under whatever name."""
    if head[:4] in ZIP_STARTS:
        return extension not in ARCHIVES or _names_a_pickle(path)
    if head.startswith(b"\x93NUMPY"):
        return _numpy_objects(head)
    if is_tar(head[:512]) and extension != ".tar":
        return True  # torch before 0.1.10 wrote these, and today's still reads them
    with open(path, "rb") as handle:
        return looks_like_pickle(handle, os.path.getsize(path))


def _check(path: str, name: str, allow_pickle: bool) -> None:
    extension = _extension(name)
    with open(path, "rb") as handle:
        head = handle.read(4096)
    instead = stranger(head) if extension in WEIGHTS else None
    if extension in LOOKS and extension not in (".txt", ".json"):
        instead = instead or answer(head)
    if head.startswith(LFS):
        instead = answer(head)
    if instead:
        raise ContentError(instead)
    if extension == ".safetensors":
        check_safetensors(path)
    elif extension in PICKLES:
        refuse_pickle(name, allow_pickle)
        check_pickle(path)
    elif _is_pickle(path, extension, head):
        if extension in LOOKS:
            raise ContentError("it is a pickle or a torch file under the name of another format")
        _refuse(name, allow_pickle)
        check_pickle(path)
    else:
        check_looks(path, extension)


def check(path: str, name: str, allow_pickle: bool) -> None:
    """Judge ``path``, which is to be called ``name``. Raises ContentError with the reason and what to do."""
    try:
        _check(path, name, allow_pickle)
    except ContentError as exc:
        kind = UnsafeError if isinstance(exc, UnsafeError) else ContentError
        raise kind("%s was not put in place: %s." % (name, str(exc).rstrip("."))) from exc
    except (OSError, MemoryError):
        raise
    except Exception as exc:  # made to make us stumble, perhaps: what cannot be judged is not let through
        raise UnsafeError(
            "%s was not put in place: its content cannot be judged (%s)." % (name, type(exc).__name__)
        ) from exc


def _refuse(name: str, allow_pickle: bool) -> None:
    if not allow_pickle:
        raise ContentError(
            "%s is a pickle, which can run code when it is loaded; take a .safetensors if there is one, or set "
            "allow_pickle: true to have it scanned and accepted" % name
        )


def refuse_pickle(name: str, allow_pickle: bool) -> None:
    """Raise ContentError for a pickle that is not allowed; known before a byte is fetched."""
    if _extension(name) in PICKLES:
        _refuse(name, allow_pickle)
