# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that torch.save writes, down to the byte: which part of them is a pickle, and is the rest really numbers?

Two loaders need not see the same pickle in a file: zips are found from the end, pickles begin at the start, names may
differ between a zip's two lists of them. So a file is refused unless every byte of it is accounted for in one way only.
Tensor data is not read: it is skipped by the length that the pickle promises, and nothing else can be there.
New format (since torch 1.6): https://github.com/pytorch/pytorch/blob/main/caffe2/serialize/inline_container.h
"""

from __future__ import annotations

import os
import re
import struct
import tarfile
from typing import BinaryIO, NamedTuple

from ..errors import ContentError, UnsafeError
from .pickle_machine import MAX_STACK
from .pickle_opcodes import ByteWindow
from .pickle_values import PickleList, StorageInfo, has_exact_type
from .pickles import PickleScan

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
MAX_DIRECTORY = 16 << 20
ZIP64_MARK = 0xFFFFFFFF  # stands for a number that does not fit
MEMBER_NAME = re.compile(
    rb"([^/\\\x00-\x1f\x7f]{1,255})/(data\.pkl|version|byteorder|\.data/serialization_id|\.format_version|"
    rb"\.storage_alignment|data/(?:0|[1-9][0-9]{0,19}))"
)
# what torch.jit.save writes besides: a program, as Python's source, and the values that it uses
TORCHSCRIPT_MEMBER = re.compile(rb"[^/]{1,255}/(?:code/.*|constants\.pkl)", re.DOTALL)
# the small members, and what torch writes into them
SMALL_MEMBERS = {
    "version": re.compile(rb"[0-9]{1,9}\n?"),
    "byteorder": re.compile(rb"little|big"),
    ".data/serialization_id": re.compile(rb"[0-9]{1,64}"),
    ".format_version": re.compile(rb"[0-9]{1,9}\n?"),
    ".storage_alignment": re.compile(rb"[0-9]{1,9}\n?"),
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class ZipMember(NamedTuple):
    name: bytes
    header: int  # where its local header begins
    size: int


def _zip_error(what: str) -> ContentError:
    return ContentError(f"its zip is not as torch writes it: {what}")


def _read_at(handle: BinaryIO, at: int, count: int) -> bytes:
    handle.seek(at)
    data = handle.read(count) if at >= 0 else b""
    if len(data) != count:
        raise _zip_error("it is cut off")
    return data


def locate_zip_directory(handle: BinaryIO, size: int) -> tuple[int, int, int]:
    """Begin, length and number of entries of a zip's central directory, which must end the file. Raises ContentError."""
    if size < 22:
        raise _zip_error("it is cut off")
    end = size - 22
    record = struct.unpack("<4s4H2LH", _read_at(handle, end, 22))
    if record[0] != b"PK\x05\x06" or record[7]:
        raise _zip_error("its end is missing or followed by something")
    disk, first_disk, here, count, length, begin = record[1:7]
    locator = _read_at(handle, end - 20, 20) if end >= 20 else b""
    if locator.startswith(b"PK\x06\x07"):
        where, disks = struct.unpack("<QL", locator[8:])
        end -= 76
        large = struct.unpack("<4sQ2H2L4Q", _read_at(handle, end, 56))
        if large[0] != b"PK\x06\x06" or where != end or large[1] != 44 or disks > 1 or large[4] or large[5]:
            raise _zip_error("its end is malformed")
        # one reader takes the small record, another the large one
        for small, wide, none in (
            (here, large[6], 0xFFFF),
            (count, large[7], 0xFFFF),
            (length, large[8], ZIP64_MARK),
            (begin, large[9], ZIP64_MARK),
        ):
            if small not in (none, wide):
                raise _zip_error("it has two ends that differ")
        here, count, length, begin = large[6:]
    if disk or first_disk or here != count or begin + length != end:
        raise _zip_error("its list of members is not where it should be")
    if length > MAX_DIRECTORY or count > MAX_STACK:
        raise _zip_error("it has more members than a model")
    return begin, length, count


def _parse_zip64(extra: bytes, allowed: tuple[int, ...]) -> list[int] | None:
    """The numbers of the extra field 1, for what does not fit 32 bits; other fields must be among ``allowed``, each once."""
    found: list[int] | None = None
    seen: set[int] = set()
    at = 0
    while at < len(extra):
        tag, length = struct.unpack("<HH", extra[at : at + 4]) if len(extra) - at >= 4 else (0, 0)
        if tag not in allowed or tag in seen or len(extra) - at < 4 + length or (tag == 1 and length % 8):
            raise _zip_error("a member has an extra field that torch does not write")
        seen.add(tag)
        if tag == 1:
            found = list(struct.unpack(f"<{length // 8}Q", extra[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _list_members(handle: BinaryIO, size: int) -> tuple[list[ZipMember], int]:
    """The members as the central directory lists them, by their place, and where that directory begins."""
    begin, length, count = locate_zip_directory(handle, size)
    raw = _read_at(handle, begin, length)
    members: list[ZipMember] = []
    at = 0
    for _entry in range(count):
        if len(raw) - at < 46 or raw[at : at + 4] != b"PK\x01\x02":
            raise _zip_error("its list of members is malformed")
        flags, method = struct.unpack("<2H", raw[at + 8 : at + 12])
        packed, unpacked, name, extra, comment, disk = struct.unpack("<2L4H", raw[at + 20 : at + 36])
        (offset,) = struct.unpack("<L", raw[at + 42 : at + 46])
        after = at + 46 + name + extra + comment
        if after > len(raw):
            raise _zip_error("its list of members is malformed")
        name = raw[at + 46 : at + 46 + name]
        shown = name[:80].decode("utf-8", "replace")
        if TORCHSCRIPT_MEMBER.fullmatch(name):
            raise UnsafeError(
                f"it is a TorchScript archive ({shown}), which is a program and not only weights. Take its weights as a "
                ".safetensors; if you trust its author, give its sha256 and trusted: true"
            )
        sizes = [unpacked, packed, offset]
        missing = [index for index, value in enumerate(sizes) if value == ZIP64_MARK]
        wide = _parse_zip64(raw[after - comment - extra : after - comment], (1,))
        if len(wide or ()) != len(missing):
            raise _zip_error(f"{shown} has a malformed size")
        for index, value in zip(missing, wide or ()):
            sizes[index] = value
        unpacked, packed, offset = sizes
        if method or packed != unpacked:
            raise _zip_error(f"{shown} is compressed")
        if flags & ~0x0808 or comment or disk:
            raise _zip_error(f"{shown} is encrypted, or otherwise special")
        members.append(ZipMember(name, offset, unpacked))
        at = after
    if at != len(raw):
        raise _zip_error("its list of members is malformed")
    return sorted(members, key=lambda member: member.header), begin


def _locate_data(handle: BinaryIO, member: ZipMember, until: int) -> int:
    """Where the member's bytes begin, after its own header, which must agree; ``until`` is where the next thing is."""
    head = _read_at(handle, member.header, 30)
    flags, method = struct.unpack("<2H", head[6:10])
    packed, unpacked, name_length, extra_length = struct.unpack("<2L2H", head[18:30])
    rest = _read_at(handle, member.header + 30, name_length + extra_length)
    wide = _parse_zip64(rest[name_length:], (1, 0x4246))  # "FB" pads the data to its alignment
    later = bool(flags & 8)  # the sizes follow the data
    is_consistent = unpacked == packed and (
        packed == member.size or (packed == ZIP64_MARK and wide) or (packed == 0 and later)
    )
    # torch adds the place, and knows only one of the sizes by then
    place = [member.header] if member.header >= ZIP64_MARK else []
    sizes = ([member.size] * 2, [member.size, 0])
    if wide not in (None, place, *sizes, *(size + place for size in sizes)):
        is_consistent = False
    if head[:4] != b"PK\x03\x04" or rest[:name_length] != member.name or flags & ~0x0808 or method or not is_consistent:
        raise _zip_error("{} has two headers that differ".format(member.name[:80].decode("utf-8", "replace")))
    begin = member.header + 30 + len(rest)
    gap = until - begin - member.size
    if gap:
        tail = _read_at(handle, begin + member.size, gap) if gap in (16, 24) and later else b""
        form = "<2L" if gap == 16 else "<2Q"
        if tail[:4] != b"PK\x07\x08" or struct.unpack(form, tail[8:]) != (member.size, member.size):
            raise _zip_error("there is something between its members")
    return begin


def _check_zip(handle: BinaryIO, size: int) -> None:
    members, directory = _list_members(handle, size)
    if not members or members[0].header:
        raise _zip_error("it does not begin with a member")
    places: dict[str, tuple[int, int]] = {}
    roots = set()
    for member, until in zip(members, [following.header for following in members[1:]] + [directory]):
        shown = member.name[:80].decode("utf-8", "replace")
        found = MEMBER_NAME.fullmatch(member.name)
        if not found:
            raise _zip_error(f"there is {shown!r} in it")
        roots.add(found.group(1))
        name = found.group(2).decode()
        if name in places or len(roots) > 1 or found.group(1) in (b".", b".."):
            raise _zip_error(f"there is a second place for {shown!r} in it")
        places[name] = (_locate_data(handle, member, until), member.size)
    for name in ("data.pkl", "version"):
        if name not in places:
            raise _zip_error(f"there is no {name} in it")
    begin, length = places.pop("data.pkl")
    storages: dict[str, StorageInfo] = {}
    pickle = PickleScan(ByteWindow(handle, begin, begin + length), storages)
    pickle.run()
    if pickle.window.at != begin + length:
        raise ContentError("there is something behind its pickle")
    for name, content in SMALL_MEMBERS.items():
        at, length = places.pop(name, (0, 0))
        if at and (length > 64 or not content.fullmatch(_read_at(handle, at, length))):
            raise _zip_error(f"{name} is not what torch writes there")
    for name, (_at, length) in places.items():
        info = storages.pop(name[5:], None)
        if info is None or info.bytes != length:
            raise _zip_error(f"{name} is not the data of any tensor")
    if storages:
        raise ContentError(f"the data of {len(storages)} tensors is missing")


def _check_legacy(handle: BinaryIO, size: int) -> None:
    """Before torch 1.6: five pickles in a row, then for each storage its length and its numbers. Also a bare pickle."""
    first = PickleScan(ByteWindow(handle, 0, size))
    result = first.run()
    at = first.window.at
    if result != LEGACY_MAGIC or not has_exact_type(result, int):
        if at != size:
            raise ContentError("there is something behind its pickle, and it is no torch file")
        return
    storages: dict[str, StorageInfo] = {}
    results = []
    for number in range(4):  # protocol, system, object, keys
        pickle = PickleScan(ByteWindow(handle, at, size), storages if number == 2 else None)
        results.append(pickle.run())
        at = pickle.window.at
    protocol, _system, _object, keys = results
    if (
        not has_exact_type(protocol, int)
        or protocol != LEGACY_PROTOCOL
        or not isinstance(keys, PickleList)
        or keys.items is None
    ):
        raise ContentError("it is an old torch file with a malformed frame")
    if len(keys.items) != len(storages) or set(keys.items) != set(storages):
        raise ContentError("it is an old torch file whose list of tensors does not fit its pickle")
    for key in keys.items:
        window = ByteWindow(handle, at, size)
        if struct.unpack("<q", window.read(8))[0] != storages[key].length:
            raise ContentError("it is an old torch file with a tensor of another length than its pickle says")
        window.skip(storages[key].bytes)
        at = window.at
    if at != size:
        raise ContentError("there is something behind its last tensor")


def is_tar(head: bytes) -> bool:
    """Whether tarfile, and so torch's old loader, would read ``head`` as the first header of a tar.

    tarfile itself is asked: it takes numbers that look odd (``+12345``, ``0o12345``, base 256), and more than a copy of its
    rules would know. A block of zeros is the end of a tar and holds nothing.
    """
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    except Exception:  # what tarfile stumbles over is not known to be harmless
        return True
    return True


def ends_as_zip(handle: BinaryIO, size: int) -> bool:
    """Whether a zip reader, which begins at the end of a file, would find one."""
    begin = max(0, size - 22 - 0xFFFF)
    handle.seek(begin)
    tail = handle.read(size - begin)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        record = tail[at + 12 : at + 20]
        if len(record) == 8:
            length, offset = struct.unpack("<2L", record)
            # random numbers hold the four bytes once in a while, but no directory with them
            for place in (offset, begin + at - length):
                if length == 0 or (0 <= place < size and _read_signature(handle, place) == b"PK\x01\x02"):
                    return True
            if tail[max(0, at - 20) : at][:4] == b"PK\x06\x07":
                return True
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return False


def _read_signature(handle: BinaryIO, place: int) -> bytes:
    handle.seek(place)
    return handle.read(4)


def check_torch_file(path: str) -> None:
    """Raise ContentError unless this is a whole torch file (or a bare pickle) that can be loaded without harm."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        head = handle.read(512)
        if head[:4] in ZIP_STARTS:
            _check_zip(handle, size)
        elif is_tar(head):
            raise ContentError("it is a tar, as torch wrote them before 0.1.10; such files are not supported")
        elif ends_as_zip(handle, size):
            raise ContentError("it begins as a pickle and ends as a zip, so that two programs would load two things")
        else:
            _check_legacy(handle, size)
