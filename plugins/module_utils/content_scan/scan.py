# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a file what its name says, and can it be loaded without running somebody's code?

The name says what the WebUI will do with a file, the content what a loader could make of it; both must be harmless. A scan
is no guarantee, which is why pickles are refused unless they are allowed.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import zipfile

from ..errors import ContentError, UnsafeError
from ..transfer.error_pages import LFS_POINTER, describe_error_page
from .file_formats import FORMAT_CHECKS, check_format, describe_misnamed_file, describe_non_weights
from .model_config import check_config
from .pickles import looks_like_pickle
from .safetensors import check_safetensors
from .torch_files import ZIP_STARTS, check_torch_file, is_tar, locate_zip_directory

PICKLE_EXTENSIONS = (".ckpt", ".pt", ".pth", ".bin", ".th", ".pkl", ".pickle", ".joblib")
WEIGHT_EXTENSIONS = (*PICKLE_EXTENSIONS, ".safetensors", ".gguf", ".onnx")
PLAIN_ZIP_EXTENSIONS = (".zip", ".npz", ".whl")  # zips that nobody loads as a model
ARRAY_EXTENSIONS = (".npy", ".npz")
MAX_PICKLE = 16 << 20  # bytes
MAX_ARRAYS = 10_000  # in one .npz; more take too long to look at
NUMPY_MAGIC = b"\x93NUMPY"
_NUMPY_TYPE = rb"'[<>|=]?(?:[?biufcSUV]\d{0,9}|[mM]8(?:\[\d{0,9}[a-zA-Z]{1,2}\])?)'"
# https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
PLAIN_ARRAY = re.compile(
    rb"\{'descr': (?:%s|\[(?:\('[^'\\]{0,200}', %s\)(?:, )?){1,100}\]), 'fortran_order': (?:True|False), "
    rb"'shape': \([\d, L]{0,900}\),? ?\}\s*" % (_NUMPY_TYPE, _NUMPY_TYPE)
)


# "MODULE NAME" in detectors of YOLO, and what else stands in those that their makers publish
YOLO_IMPORT = re.compile(r"(?:ultralytics[. ]|yolov\d+[. ]|models\.(?:yolo|common|experimental) )")
YOLO_COMPANION_IMPORT = re.compile(
    r"(?:(?:ultralytics|yolov\d+|models|utils|torch|torchvision|numpy|collections|pathlib|datetime)[. ]|"
    r"(?:builtins|__builtin__) (?:getattr|set|frozenset|slice|object|dict|list|tuple|int|float|bool|complex|bytearray)\Z)"
)


def _file_extension(name: str) -> str:
    return os.path.splitext(name.rstrip(". "))[1].lower()


def _mentions_pickle(path: str) -> bool:
    """Whether a zip could have torch's pickle in it. Names stand in zips as they are; so no directory need be believed."""
    with open(path, "rb") as handle:
        rest = b""
        for block in iter(lambda: handle.read(1 << 20), b""):
            if b"data.pkl" in (rest + block).lower():
                return True
            rest = block[-7:]
    return False


def _array_may_hold_objects(head: bytes) -> bool:
    """Whether an array may hold objects, which are a pickle behind its header. Only headers as numpy writes them do not."""
    wide = head[6:7] != b"\x01"
    begin = 12 if wide else 10
    length = int.from_bytes(head[8:begin], "little")
    return not PLAIN_ARRAY.fullmatch(head[begin : begin + length])


def _npz_may_hold_objects(path: str) -> bool:
    """Whether an array in a zip may hold objects: numpy goes by the content of a member, not by its name."""
    try:
        with open(path, "rb") as handle:
            _begin, length, count = locate_zip_directory(handle, os.path.getsize(path))
        if count > MAX_ARRAYS or length > MAX_ARRAYS * 100:
            return True
        with zipfile.ZipFile(path) as bundle:
            for member in bundle.infolist():
                with bundle.open(member) as stream:
                    head = stream.read(4096)
                if head.startswith(NUMPY_MAGIC) and _array_may_hold_objects(head):
                    return True
    except Exception:  # zipfile raises many: what cannot be read is not known to be harmless
        return True
    return False


def _is_pickle(path: str, extension: str, head: bytes) -> bool:
    """Whether a loader of pickles would take it, under whatever name."""
    if head[:4] in ZIP_STARTS:
        return (
            extension not in PLAIN_ZIP_EXTENSIONS
            or _mentions_pickle(path)
            or (extension == ".npz" and _npz_may_hold_objects(path))
        )
    if head.startswith(NUMPY_MAGIC):
        return _array_may_hold_objects(head)
    if extension in ARRAY_EXTENSIONS:
        return True  # numpy takes whatever is neither of the two for a pickle
    if is_tar(head[:512]) and extension != ".tar":
        return True  # torch before 0.1.10 wrote these, and today's still reads them
    with open(path, "rb") as handle:
        return looks_like_pickle(handle, os.path.getsize(path))


def _list_imports(path: str) -> list[str]:
    """All of what the pickles of a torch file import, as "MODULE NAME"; empty where that is not known."""
    found = []
    try:
        with open(path, "rb") as handle:
            count = 5  # see torch_files
            data = handle.read(MAX_PICKLE)
            if data.startswith(b"PK"):
                count = 1
                with zipfile.ZipFile(path) as bundle:
                    (name,) = [each for each in bundle.namelist() if each.endswith("/data.pkl")]
                    data = bundle.open(name).read(MAX_PICKLE)
            stream = io.BytesIO(data)
            for _entry in range(count):
                for operation, argument, _at in pickletools.genops(stream):
                    if operation.name == "GLOBAL":
                        found.append(str(argument))
                    elif operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                        return []
    except Exception:  # what cannot be read is not recommended
        return []
    return found


def _scan_pickle(path: str) -> None:
    """check_torch_file, with what can be done about a detector of YOLO, which is a pickle of classes."""
    try:
        check_torch_file(path)
    except UnsafeError as exc:
        found = _list_imports(path)
        if any(map(YOLO_IMPORT.match, found)) and all(map(YOLO_COMPANION_IMPORT.match, found)):
            raise UnsafeError(
                f"{exc}. It is a detector of YOLO, which is a pickle of classes. If you trust its maker, take it for its hash alone, with trusted: true "
                "and the sha256 that the maker publishes"
            ) from exc
        raise


def _scan_content(path: str, name: str, allow_pickle: bool) -> None:
    extension = _file_extension(name)
    with open(path, "rb") as handle:
        head = handle.read(4096)
    # the length of a header may have any bytes, also those that other formats begin with; but it is below 2**32
    tensors = extension == ".safetensors" and head[4:9] == b"\0\0\0\0{"
    instead = (
        (describe_non_weights(head) or describe_misnamed_file(path, name, head))
        if extension in WEIGHT_EXTENSIONS and not tensors
        else None
    )
    if extension in FORMAT_CHECKS and extension not in (".txt", ".json"):
        instead = instead or describe_error_page(head)
    if head.startswith(LFS_POINTER):
        instead = describe_error_page(head)
    if instead:
        raise ContentError(instead)
    if extension == ".safetensors":
        check_safetensors(path)
    elif extension in PICKLE_EXTENSIONS:
        reject_pickle_name(name, allow_pickle)
        _scan_pickle(path)
    elif _is_pickle(path, extension, head):
        if extension in FORMAT_CHECKS:
            raise ContentError("it is a pickle or a torch file under the name of another format")
        _reject_pickle(name, allow_pickle)
        _scan_pickle(path)
    else:
        check_format(path, extension)
        if extension in (".yaml", ".yml"):
            check_config(path)


def scan_file(path: str, name: str, allow_pickle: bool) -> None:
    """Scan ``path``, which is to be called ``name``. Raises ContentError with the reason and what to do."""
    try:
        _scan_content(path, name, allow_pickle)
    except ContentError as exc:
        kind = UnsafeError if isinstance(exc, UnsafeError) else ContentError
        raise kind("{} was not put in place: {}.".format(name, str(exc).rstrip("."))) from exc
    except (OSError, MemoryError):
        raise
    except Exception as exc:  # made to make us stumble, perhaps: what cannot be judged is not let through
        raise UnsafeError(f"{name} was not put in place: its content cannot be judged ({type(exc).__name__}).") from exc


def _reject_pickle(name: str, allow_pickle: bool) -> None:
    if not allow_pickle:
        raise ContentError(
            f"{name} is a pickle, which can run code when it is loaded; take a .safetensors if there is one, or set "
            "allow_pickle: true (model_fetch_allow_pickle of the role) to have it scanned and accepted"
        )


def reject_pickle_name(name: str, allow_pickle: bool) -> None:
    """Raise ContentError for a pickle that is not allowed; known before a byte is fetched."""
    if _file_extension(name) in PICKLE_EXTENSIONS:
        _reject_pickle(name, allow_pickle)
