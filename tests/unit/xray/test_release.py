"""Releases of Xray-core that are not what they should be, and programs that do not run."""

from __future__ import annotations

import functools
import hashlib
import http.server
import struct
import threading
import zipfile
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.xray_asset import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.xray.release import ASSETS, installed_version

VERSION = "26.7.28"
ZIP = f"v{VERSION}/Xray-linux-64.zip"


def pack(path: Path, version: str = VERSION, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as out:
        out.writestr("xray", f"#!/bin/sh\necho 'Xray {version} (test)'\n" + "# padding\n" * 50)
        out.writestr("geosite.dat", "x")
    return path


def digest(path: Path) -> None:
    path.with_name(path.name + ".dgst").write_text(f"SHA2-256= {hashlib.sha256(path.read_bytes()).hexdigest()}\n")


@pytest.fixture
def mirrors(tmp_path):
    """Makes release servers; (directory, URL) each."""
    servers = []

    def start(name: str) -> tuple[Path, str]:
        directory = tmp_path / name
        directory.mkdir()
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return directory, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()


def wrong_hash(path: Path) -> None:
    digest(pack(path))
    path.write_bytes(path.read_bytes() + b"x")


def web_page(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("<html>please log in</html>")
    digest(path)


def other_version(path: Path) -> None:
    digest(pack(path, "1.8.3"))


def no_digest(path: Path) -> None:
    pack(path).with_name(path.name + ".dgst").write_text("<html>404, but 200</html>")


@pytest.mark.parametrize("rubbish", [wrong_hash, web_page, other_version, no_digest])
def test_a_mirror_with_rubbish_is_passed_over(mirrors, tmp_path, run_module, rubbish):
    (bad, bad_url), (good, good_url) = mirrors("bad"), mirrors("good")
    rubbish(bad / ZIP)
    digest(pack(good / ZIP))
    wish = {"version": VERSION, "dest": str(tmp_path / "x")}
    found = run_module("xray_core", **wish, release_base=[bad_url, good_url])
    assert not found["failed"], found
    assert (found["via"], found["verified"]) == (good_url, "dgst")
    alone = run_module("xray_core", **{**wish, "dest": str(tmp_path / "y")}, release_base=[bad_url])
    assert alone["failed"] and bad_url in alone["msg"] and "xray_proxy_release_base" in alone["msg"]
    assert list((tmp_path / "y").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"\x7fELF" + bytes(60), b"#!/nowhere/sh\n"])
def test_a_damaged_program_is_replaced(mirrors, tmp_path, four_times, run_module, damage):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    wish = {"version": VERSION, "dest": str(tmp_path / "x"), "release_base": [url]}
    run_module("xray_core", **wish)
    program = tmp_path / "x" / VERSION / "xray"
    program.write_bytes(damage)
    assert installed_version(str(program)) is None
    four_times("xray_core", **wish)
    assert installed_version(str(program)) == VERSION


def test_the_v_of_a_tag_means_nothing(mirrors, tmp_path, four_times):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    _, applied = four_times("xray_core", version="v" + VERSION, dest=str(tmp_path / "x"), release_base=[url])
    assert applied["path"] == str(tmp_path / "x" / VERSION / "xray")


def test_a_zip_that_nothing_vouches_for_is_named(tmp_path, run_module):
    archive = pack(tmp_path / "given.zip")
    wish = {"version": VERSION, "dest": str(tmp_path / "x"), "file": str(archive)}
    found = run_module("xray_core", **wish)
    assert not found["failed"] and found["verified"] == ""
    (warning,) = found["warnings"]
    assert str(archive) in str(warning) and "xray_proxy_sha256" in str(warning) and ".dgst" in str(warning)
    digest(archive)
    vouched = run_module("xray_core", **{**wish, "dest": str(tmp_path / "y")})
    assert vouched["verified"] == "dgst" and not vouched.get("warnings")


def test_present_leaves_the_one_in_use(mirrors, tmp_path, four_times, run_module):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    digest(pack(directory / "v26.10.10/Xray-linux-64.zip", "26.10.10"))
    wish = {"dest": str(tmp_path / "x"), "release_base": [url]}
    run_module("xray_core", version=VERSION, **wish)
    four_times("xray_core", version="26.10.10", state="present", **wish)
    assert (tmp_path / "x" / "current").readlink() == Path(VERSION)


def test_verified_looks_and_changes_nothing(tmp_path, run_module):
    archive = pack(tmp_path / "given.zip")
    digest(archive)
    wish = {"version": VERSION, "file": str(archive), "state": "verified"}
    assert not run_module("xray_core", **wish)["failed"]
    archive.write_bytes(archive.read_bytes()[:-30])
    assert "SHA-256" in run_module("xray_core", **wish)["msg"]
    digest(archive)
    assert "cannot be unpacked" in run_module("xray_core", **wish)["msg"]


def encrypted(path: Path) -> None:
    """The bit that says so, in both headers of the first member."""
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)


def unknown_method(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.index(magic) + offset, 77)
    path.write_bytes(data)


def broken_stream(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"xray") + 4 : data.index(b"xray") + 14] = b"\xff" * 10
    path.write_bytes(data)


def cut_member(path: Path) -> None:
    """A member that says it is longer than the file."""
    data = bytearray(pack(path).read_bytes())
    struct.pack_into("<II", data, data.index(b"PK\x01\x02") + 20, 1 << 24, 1 << 24)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [encrypted, unknown_method, broken_stream, cut_member])
def test_a_damaged_zip_is_a_sentence(tmp_path, run_module, damage):
    archive = pack(tmp_path / "given.zip", compression=zipfile.ZIP_DEFLATED)
    damage(archive)
    found = run_module("xray_core", version=VERSION, dest=str(tmp_path / "x"), file=str(archive))
    assert found["failed"]
    assert str(archive) in found["msg"] and "cannot be unpacked" in found["msg"]


@pytest.mark.parametrize(("machine", "name"), sorted(ASSETS.items()))
def test_every_architecture_has_its_asset(machine, name):
    assert FilterModule().filters()["xray_asset"](machine) == name
    assert name.startswith("Xray-linux-")


@pytest.mark.parametrize("machine", ["", "pdp11", "X86_64"])
def test_an_unknown_architecture_is_an_error(machine):
    with pytest.raises(AnsibleFilterError, match="no Xray-core release for the architecture.*sdops_network"):
        FilterModule().filters()["xray_asset"](machine)
