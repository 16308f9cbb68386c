# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are no weights: do they look like what they are called? And what came instead of a model?"""

from __future__ import annotations

import codecs
import os
import struct
import zipfile
from typing import BinaryIO, Callable

from ..errors import ContentError
from ..terminal import printable
from ..transfer.error_pages import BLANK, HTML_PAGE, LFS_POINTER, describe_error_page

# top-level fields of onnx.ModelProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
ONNX_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
ONNX_GRAPH = 7
MAX_LISTED_MEMBERS = 10_000  # members of a zip that are looked at
PRINTABLE = bytes([9, 10, 12, 13, *range(32, 127), *range(128, 256)])
UNPACK_ADVICE = "unpack it on the target, and give the model that is in it as file:///PATH"
ARCHIVE_MAGIC = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
}


def is_no_model(head: bytes, weights: bool) -> bool:
    """Whether a file is provably no loss: empty, a git-lfs pointer, or a web page that is called as ``weights`` are.

    ``head`` is its beginning, all of a short file.
    """
    page = weights and HTML_PAGE.match(head.lstrip(BLANK))  # a text may well begin like one
    return (
        not head or bool(page) or head.startswith(LFS_POINTER) or (len(head) >= 23 and LFS_POINTER.startswith(head))
    )  # a cut one


def describe_non_weights(head: bytes) -> str | None:
    """What lies where weights should be, as the end of a sentence; None if nothing known. ``head`` is all of a short file."""
    text = head.lstrip(BLANK)
    if not head:
        return "it is empty"
    if text[:1] in (b"{", b"[") and not text.translate(None, PRINTABLE):
        excerpt = "".join(c if c.isprintable() else " " for c in text[:100].decode("utf-8", "replace"))
        return f"it is a JSON answer of a server ({excerpt}); check address and token"
    for magic, what in ARCHIVE_MAGIC.items():
        if head.startswith(magic):
            return f"it is {what}; {UNPACK_ADVICE}"
    return describe_error_page(head)


# what else is mistaken for weights: its first bytes, what it is
OTHER_FORMATS = (
    (b"GGUF", "a GGUF file, which the WebUI does not load; take the .safetensors of the model"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file of Keras, which the WebUI does not load; take the .safetensors of the model"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image, perhaps the preview of the model; take the link of the model itself"),
    (b"\xff\xd8\xff", "a JPEG image, perhaps the preview of the model; take the link of the model itself"),
    (b"GIF8", "a GIF image, perhaps the preview of the model; take the link of the model itself"),
    (b"%PDF-", "a PDF document; take the link of the model itself"),
    (b"MZ", "a program for Windows; take the link of the model itself"),
    (b"\x7fELF", "a program for Linux; take the link of the model itself"),
)


def _list_plain_zip(path: str) -> str | None:
    """The names in a zip that torch did not write, as one text; None for torch's own, and for what is no whole zip."""
    try:
        with zipfile.ZipFile(path) as bundle:
            names = [member.filename for member in bundle.infolist()[:MAX_LISTED_MEMBERS] if not member.is_dir()]
    except Exception:  # zipfile raises many
        return None
    if any(name.split("/")[-1] in ("data.pkl", "constants.pkl") for name in names):
        return None
    excerpt = ", ".join(printable(name)[:100] for name in names[:5])
    return excerpt + (", ..." if len(names) > 5 else "")


def describe_misnamed_file(path: str, name: str, head: bytes) -> str | None:
    """What the file at ``path``, to be called ``name`` and beginning with ``head``, is instead of weights of that name.

    As the end of a sentence with the name or the step that helps; None when nothing is known to be wrong.
    """
    stem, extension = os.path.splitext(name)
    extension = extension.lower()
    size = os.path.getsize(path)
    if head.startswith(b"PK") and extension not in (".onnx", ".gguf"):
        listed = _list_plain_zip(path)
        if listed is not None:
            return "it is a zip archive ({}); {}".format(listed or "with nothing in it", UNPACK_ADVICE)
    length = int.from_bytes(head[:8], "little")
    if extension != ".safetensors" and 2 <= length <= size - 8 and length < 1 << 32 and head[8:9] == b"{":
        return f"it is a safetensors file under another name; set name to {stem}.safetensors"
    if extension == ".safetensors" and (
        head.startswith(b"PK") or head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"
    ):
        return (
            f"it is a pickle, as torch.save writes them, and no safetensors; take a real .safetensors, or set name to {stem}.ckpt for a checkpoint "
            f"({stem}.pt else) and allow_pickle: true (model_fetch_allow_pickle of the role) to have it scanned"
        )
    for magic, what in OTHER_FORMATS:
        if head.startswith(magic) and extension != ".gguf":
            return "it is " + what
    return None


def _is_gguf(handle: BinaryIO, size: int) -> bool:
    head = handle.read(24)
    if len(head) < 24 or head[:4] != b"GGUF":
        return False
    version, tensors, entries = struct.unpack("<LQQ", head[4:])
    # a tensor takes 24 bytes of header at least, an entry 13
    return 1 <= version <= 99 and tensors * 24 + entries * 13 < size


def _read_varint(handle: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = handle.read(1)
        if not byte:
            raise ValueError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError


def _is_onnx(handle: BinaryIO, size: int) -> bool:
    """The outermost fields of the protobuf: known ones, a graph among them, and they end where the file ends."""
    seen = set()
    for _block in range(1_000_000):
        if handle.tell() >= size:
            return handle.tell() == size and ONNX_GRAPH in seen
        try:
            field, form = divmod(_read_varint(handle), 8)
            value = _read_varint(handle)
        except ValueError:
            return False
        if field not in ONNX_FIELDS or form not in (0, 2):
            return False
        seen.add(field)
        if form == 2:
            if value > size - handle.tell():
                return False
            handle.seek(handle.tell() + value)
    return False


def _is_text(handle: BinaryIO, _size: int) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in iter(lambda: handle.read(1 << 20), b""):
            decoder.decode(block)
            if block.translate(None, PRINTABLE):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_json(handle: BinaryIO, size: int) -> bool:
    first = handle.read(4096).lstrip(BLANK)[:1]
    handle.seek(0)
    return first in (b"{", b"[", b'"') and _is_text(handle, size)


def _begins_with_any(*signatures: bytes) -> Callable[[BinaryIO, int], bool]:
    return lambda handle, _size: handle.read(16).startswith(signatures)


def _is_webp(handle: BinaryIO, size: int) -> bool:
    head = handle.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP" and 8 + struct.unpack("<L", head[4:8])[0] <= size


FORMAT_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    ".gguf": _is_gguf,
    ".onnx": _is_onnx,
    ".yaml": _is_text,
    ".yml": _is_text,
    ".txt": _is_text,
    ".json": _is_json,
    ".png": _begins_with_any(b"\x89PNG\r\n\x1a\n"),
    ".jpg": _begins_with_any(b"\xff\xd8\xff"),
    ".jpeg": _begins_with_any(b"\xff\xd8\xff"),
    ".webp": _is_webp,
}


def check_format(path: str, extension: str) -> None:
    """Raise ContentError when the file is not what ``extension`` says; nothing is known of others."""
    is_format = FORMAT_CHECKS.get(extension)
    if is_format is None:
        return
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        if not is_format(handle, size):
            raise ContentError(f"it is no {extension[1:]} file, or it is cut off")
