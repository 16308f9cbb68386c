"""Releases of Xray-core that are not what they should be, and programs that do not run."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import struct
import threading
import zipfile
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.xray_asset import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.errors import XrayError
from ansible_collections.sdops.webui.plugins.module_utils.xray.diagnosis import ProxyDiagnosis
from ansible_collections.sdops.webui.plugins.module_utils.xray.release import (
    ASSET_NAMES,
    MAX_DIGEST,
    MAX_ZIP,
    ReleaseSpec,
    XrayInstaller,
    query_version,
)
from helpers.paths import ROOT

VERSION = "26.7.28"
ZIP = f"v{VERSION}/Xray-linux-64.zip"


def pack(path: Path, version: str = VERSION, members: dict[str, str] | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as out:
        out.writestr("xray", f"#!/bin/sh\necho 'Xray {version} (test)'\n" + "# padding\n" * 50)
        for name, text in {"geosite.dat": "x", **(members or {})}.items():
            out.writestr(name, text)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def other_version(path: Path) -> None:
    digest(pack(path, "1.8.3"))


def with_its_own_digest(path: Path) -> None:
    """Another program of the wanted version, and a .dgst that vouches for it: what a hostile mirror serves."""
    pack(path, members={"more": "x"})
    digest(path)


@pytest.mark.parametrize("rubbish", [wrong_hash, web_page, other_version, with_its_own_digest])
def test_a_mirror_with_rubbish_is_passed_over(mirrors, tmp_path, run_module, rubbish):
    (bad, bad_url), (good, good_url) = mirrors("bad"), mirrors("good")
    rubbish(bad / ZIP)
    digest(pack(good / ZIP))
    arguments = {"version": VERSION, "dest": str(tmp_path / "x"), "digest_base": good_url}
    found = run_module("xray_core", **arguments, release_base=[bad_url, good_url])
    assert not found["failed"], found
    assert (found["via"], found["verified"]) == (good_url, "dgst")
    alone = run_module("xray_core", **{**arguments, "dest": str(tmp_path / "y")}, release_base=[bad_url])
    assert alone["failed"] and bad_url in alone["msg"] and "xray_proxy_release_base" in alone["msg"]
    assert list((tmp_path / "y").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"\x7fELF" + bytes(60), b"#!/nowhere/sh\n"])
def test_a_damaged_program_is_replaced(mirrors, tmp_path, four_times, run_module, damage):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    arguments = {"version": VERSION, "dest": str(tmp_path / "x"), "release_base": [url], "digest_base": url}
    run_module("xray_core", **arguments)
    program = tmp_path / "x" / VERSION / "xray"
    program.write_bytes(damage)
    assert query_version(str(program)) is None
    four_times("xray_core", **arguments)
    assert query_version(str(program)) == VERSION


def test_the_v_of_a_tag_means_nothing(mirrors, tmp_path, four_times):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    _, applied = four_times(
        "xray_core", version="v" + VERSION, dest=str(tmp_path / "x"), release_base=[url], digest_base=url
    )
    assert applied["path"] == str(tmp_path / "x" / VERSION / "xray")


RUNS = "#!/bin/sh\ntouch {canary}\necho 'Xray 26.7.28 (test)'\n"


@pytest.mark.parametrize("given", ["file", "mirror"])
@pytest.mark.parametrize("origin", ["dead", "without", "a web page"])
def test_nothing_runs_before_its_hash_is_known(mirrors, tmp_path, run_module, given, origin):
    """A zip with a .dgst beside it, from a mirror or given by hand, and nobody of upstream to ask: the program must not run."""
    canary, (directory, url) = tmp_path / "canary", mirrors("mirror")
    archive = directory / ZIP
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("xray", RUNS.format(canary=canary))
    digest(archive)
    upstream, upstream_url = mirrors("upstream")
    if origin == "a web page":
        (upstream / f"{ZIP}.dgst").parent.mkdir(parents=True)
        (upstream / f"{ZIP}.dgst").write_text("<html>404, but 200</html>")
    arguments = {"version": VERSION, "dest": str(tmp_path / "x"), "release_base": [url]}
    arguments["digest_base"] = "http://127.0.0.1:9" if origin == "dead" else upstream_url
    if given == "file":
        arguments["file"] = str(archive)
    found = run_module("xray_core", **arguments)
    assert found["failed"] and not canary.exists()
    assert "xray_proxy_sha256" in found["msg"] and "Nothing was installed" in found["msg"] and VERSION in found["msg"]
    assert not list((tmp_path / "x").glob("*"))
    reported = run_module("xray_core", **arguments, sha256=sha256(archive))
    assert not reported["failed"] and reported["verified"] == "sha256" and canary.exists()


def test_the_role_knows_the_default_version():
    """Both architectures, of the very version that the defaults name; nothing is asked of anybody for them."""
    role = ROOT / "roles" / "xray_proxy"
    version = yaml.safe_load((role / "defaults/main.yml").read_text())["xray_proxy_version"]
    known = yaml.safe_load((role / "vars/main.yml").read_text())["__xray_proxy_known_sha256"][version]
    assert set(known) == {ASSET_NAMES["x86_64"], ASSET_NAMES["aarch64"]}
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in known.values()) and len(set(known.values())) == 2


def test_the_digest_is_that_of_the_requested_architecture(mirrors, tmp_path, run_module):
    """The controller may be another machine than the target."""
    upstream, url = mirrors("upstream")
    archive = pack(tmp_path / "arm.zip")
    requested = upstream / f"v{VERSION}/Xray-linux-arm64-v8a.zip.dgst"
    requested.parent.mkdir(parents=True)
    requested.write_text(f"SHA2-256= {sha256(archive)}\n")
    arguments = {"version": VERSION, "file": str(archive), "state": "verified", "digest_base": url}
    found = run_module("xray_core", **arguments, machine="aarch64")
    assert (found["verified"], found["sha256"]) == ("dgst", sha256(archive))
    assert run_module("xray_core", **arguments, machine="x86_64")["failed"]


def test_present_leaves_the_one_in_use(mirrors, tmp_path, four_times, run_module):
    directory, url = mirrors("releases")
    digest(pack(directory / ZIP))
    digest(pack(directory / "v26.10.10/Xray-linux-64.zip", "26.10.10"))
    arguments = {"dest": str(tmp_path / "x"), "release_base": [url], "digest_base": url}
    run_module("xray_core", version=VERSION, **arguments)
    four_times("xray_core", version="26.10.10", state="present", **arguments)
    assert (tmp_path / "x" / "current").readlink() == Path(VERSION)


def test_state_verified_changes_nothing(tmp_path, run_module):
    archive = pack(tmp_path / "given.zip")
    arguments = {"version": VERSION, "file": str(archive), "state": "verified", "sha256": sha256(archive)}
    assert not run_module("xray_core", **arguments)["failed"]
    archive.write_bytes(archive.read_bytes()[:-30])
    assert "SHA-256" in run_module("xray_core", **arguments)["msg"]
    assert "cannot be unpacked" in run_module("xray_core", **{**arguments, "sha256": sha256(archive)})["msg"]


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


def truncated_member(path: Path) -> None:
    """A member that says it is longer than the file."""
    data = bytearray(pack(path).read_bytes())
    struct.pack_into("<II", data, data.index(b"PK\x01\x02") + 20, 1 << 24, 1 << 24)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [encrypted, unknown_method, broken_stream, truncated_member])
def test_a_damaged_zip_is_a_sentence(tmp_path, run_module, damage):
    archive = pack(tmp_path / "given.zip", compression=zipfile.ZIP_DEFLATED)
    damage(archive)
    arguments = {"version": VERSION, "dest": str(tmp_path / "x"), "file": str(archive), "sha256": sha256(archive)}
    found = run_module("xray_core", **arguments)
    assert found["failed"]
    assert str(archive) in found["msg"] and "cannot be unpacked" in found["msg"]


@pytest.mark.parametrize(("machine", "name"), sorted(ASSET_NAMES.items()))
def test_every_architecture_has_its_asset(machine, name):
    assert FilterModule().filters()["xray_asset"](machine) == name
    assert name.startswith("Xray-linux-")


@pytest.mark.parametrize("machine", ["", "pdp11", "X86_64"])
def test_an_unknown_architecture_is_an_error(machine):
    with pytest.raises(AnsibleFilterError, match="no Xray-core release for the architecture.*sdops_network"):
        FilterModule().filters()["xray_asset"](machine)


def without_end(sent, piece):
    """Pieces for ever; ``sent`` counts the bytes that the other side took, and is the oracle of these tests."""
    while True:
        yield piece
        sent.append(len(piece))


UNTOLD = {"Content-Length": None, "Connection": "close"}
CHUNKED = {**UNTOLD, "Transfer-Encoding": "chunked"}
ZEROS = bytes(1 << 20)


@pytest.mark.parametrize(
    ("headers", "piece", "words", "most"),
    [
        (UNTOLD, ZEROS, "sends more than 200 MB; that is no Xray-core release", MAX_ZIP + (32 << 20)),
        (CHUNKED, b"100000\r\n%b\r\n" % ZEROS, "sends more than 200 MB", MAX_ZIP + (32 << 20)),
        (CHUNKED, b"1" * 65536, "broke off", 16 << 20),  # the length of a chunk, a line without end
    ],
    ids=["no length", "chunks", "length of a chunk"],
)
def test_a_mirror_that_never_ends_is_left(serve, tmp_path, headers, piece, words, most):
    sent = []
    url, _ = serve(lambda path, requested: (200, headers, without_end(sent, piece)))
    release = ReleaseSpec(VERSION, [url], sha256="0" * 64, machine="x86_64")
    with pytest.raises(XrayError, match=f"{url}/{ZIP} {words}.*xray_proxy_release_base"):
        XrayInstaller(str(tmp_path / "x"), timeout=10).install(release)
    assert list((tmp_path / "x").iterdir()) == []
    assert sum(sent) < most


def test_a_digest_that_never_ends_is_not_read_on(serve, tmp_path):
    sent = []
    url, _ = serve(lambda path, requested: (200, UNTOLD, without_end(sent, b"x" * MAX_DIGEST)))
    with pytest.raises(XrayError, match="no SHA-256 line"):
        XrayInstaller(str(tmp_path), timeout=10).expected_sha256(
            ReleaseSpec(VERSION, [], digest_base=url, machine="x86_64")
        )
    assert sum(sent) < 16 << 20


def test_a_redirect_with_a_body_that_never_ends(serve):
    sent = []
    headers = {**UNTOLD, "Location": "http://elsewhere.test/"}
    url, _ = serve(lambda path, requested: (302, headers, without_end(sent, ZEROS)))
    assert ProxyDiagnosis(url, None, 0, timeout=5).query_status("http://example.test/") == 302
    assert sum(sent) < 16 << 20
