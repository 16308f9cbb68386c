"""Names up to what the file system takes: parts, journals and copies have shorter ones of their own."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import filesystem
from ansible_collections.sdops.webui.plugins.module_utils.errors import SpecError
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
from ansible_collections.sdops.webui.plugins.module_utils.transfer import temp_names
from ansible_collections.sdops.webui.plugins.module_utils.transfer.partial import PartialFile
from ansible_collections.sdops.webui.plugins.module_utils.transfer.remote_file import RemoteFile

from lab.servers.faults import Fault
from lab.servers.hosts.big import big_path, big_sha256

EXTENSION = ".safetensors"
NAMES = {
    "255": "a" * (255 - len(EXTENSION)) + EXTENSION,
    "255 in chinese": "\u6a21" * 81 + EXTENSION,
    "230": "b" * (230 - len(EXTENSION)) + EXTENSION,
}


@pytest.fixture
def long_name(tmp_path):
    if os.pathconf(tmp_path, "PC_NAME_MAX") < 255:
        pytest.skip("the file system takes shorter names only")


@pytest.mark.usefixtures("long_name")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_long_name_is_fetched_resumed_and_removed(target, lab_server, run_module, name):
    """Oracle: the file system."""
    size = 6_000_000
    entry = {"source": lab_server.url("big.lab.test") + big_path(size, "l"), "kind": "checkpoint", "name": name}
    entry["sha256"] = big_sha256(size, "l")
    place = target.path("models/Stable-diffusion") / name
    lab_server.faults.add(Fault("disconnect", host="big.lab.test", after=2_000_000))
    lab_server.faults.add(Fault("status", host="big.lab.test", status=403, body="not now", skip=2))
    more = {"connections": 1}
    found = run_module("model_files", **target.arguments, **more, models=[entry])
    assert found["failed"] and not place.exists()
    assert len(list(place.parent.iterdir())) == 2  # a part and its journal
    lab_server.faults.clear()
    found = run_module("model_files", **target.arguments, **more, models=[entry])
    assert not found["failed"], found.get("msg")
    assert 0 < found["bytes_fetched"] < size
    assert hashlib.sha256(place.read_bytes()).hexdigest() == entry["sha256"]
    assert run_module("model_files", **target.arguments, models=[entry])["changed"] is False
    copy = {
        "source": f"file://{place}",
        "kind": "checkpoint",
        "name": "c" + name[1:] if name.isascii() else "c.safetensors",
    }
    assert not run_module("model_files", **target.arguments, models=[copy])["failed"]
    assert run_module("model_files", **target.arguments, models=[entry, copy], state="absent")["changed"] is True
    assert list(place.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["a" * 244 + EXTENSION, "\u6a21" * 82 + EXTENSION])
def test_a_name_that_is_too_long_is_rejected(name):
    with pytest.raises(SpecError, match=r"name has \d+ bytes, and file systems take 255"):
        parse_model_entry({"source": "hf://a/b/c.safetensors", "name": name})


def test_where_the_file_system_takes_less(target, lab_server, run_module, monkeypatch, tmp_path):
    monkeypatch.setattr(filesystem.os, "pathconf", lambda *_: 143)  # as eCryptfs
    with pytest.raises(
        filesystem.SdopsError, match="has 144 bytes, and the file system of .* takes 143. Set a shorter name"
    ):
        filesystem.reject_long_name(str(tmp_path / ("x" * 144)))
    filesystem.reject_long_name(str(tmp_path / "missing" / ("x" * 143)))


@pytest.mark.parametrize("length", [1, 100, 139, 140, 141, 150, 180, 181, 240, 255])
@pytest.mark.parametrize("letter", ["a", "\u6a21"])
def test_temporary_names_fit_and_are_found_again(tmp_path, monkeypatch, length, letter):
    monkeypatch.setattr(temp_names.socket, "gethostname", lambda: "h" * 64)
    name = (letter * length).encode()[:length].decode("utf-8", "ignore") or "x"
    dest = str(tmp_path / name)
    own = temp_names.temp_base(dest, False)
    for base in (dest, own):
        part = PartialFile(base, RemoteFile("", ""))
        assert len(os.fsencode(os.path.basename(part.journal.path))) <= 255
    dead = own.replace(f"-{os.getpid()}", "-999999999")
    part = PartialFile(dead, RemoteFile("", ""))
    with open(part.path, "w"):
        assert temp_names.find_orphaned_bases(dest) == [dead]


def test_two_long_names_do_not_share_a_part():
    one, two = ("/x/" + "a" * 240 + end for end in "12")
    assert PartialFile(one, RemoteFile("", "")).path != PartialFile(two, RemoteFile("", "")).path
