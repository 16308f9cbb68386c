"""xray_core with zips of the test's own and a server; program_check_info with broken and working proxies."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import socket
import stat
import threading
import time
import zipfile
from pathlib import Path

import pytest

PROGRAM = "#!/bin/sh\necho 'Xray {version} (Xray, Penetrates Everything.) test'\n"
ASSET = "Xray-linux-64.zip"


def release(base: Path, version: str, message: str | None = None, members: dict[str, str] | None = None) -> Path:
    directory = base / f"v{version}"
    directory.mkdir(parents=True)
    archive = directory / ASSET
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("xray", PROGRAM.format(version=message or version))
        for name, text in (members or {"README.md": "x"}).items():
            out.writestr(name, text)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (directory / f"{ASSET}.dgst").write_text(f"MD5= 0\nSHA1= 0\nSHA2-256= {digest}\nSHA2-512= 0\n")
    return archive


@pytest.fixture
def base(tmp_path):
    """(directory, URL) of a release server."""
    directory = tmp_path / "releases"
    directory.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield directory, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def options(base, tmp_path, version: str, **more) -> dict:
    found = {"version": version, "release_base": base[1], "digest_base": base[1], "dest": str(tmp_path / "xray")}
    return {**found, **more}


def test_install_and_upgrade(base, tmp_path, four_times):
    for version in ("26.7.28", "26.10.10"):
        release(base[0], version)
        four_times("xray_core", **options(base, tmp_path, version))
        program = tmp_path / "xray" / "current" / "xray"
        assert program.resolve() == tmp_path / "xray" / version / "xray"
        assert program.stat().st_mode & stat.S_IXUSR
    assert sorted(p.name for p in (tmp_path / "xray").iterdir()) == ["26.10.10", "26.7.28", "current"]


@pytest.mark.parametrize("damage", ["nothing", "another content", "a link", "a directory", "cut"])
def test_hosts_that_share_a_cache_fetch_a_release_once(base, tmp_path, run_module, damage):
    archive = release(base[0], "26.7.28")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    shared = {"cache_dir": str(tmp_path / "cache"), "sha256": digest}
    first = run_module("xray_core", **options(base, tmp_path / "one", "26.7.28", **shared))
    assert first["via"] == base[1]
    cached = tmp_path / "cache/sha256" / digest[:2] / digest
    assert cached.read_bytes() == archive.read_bytes() and cached.stat().st_mode & 0o777 == 0o644
    if damage == "another content":
        cached.write_bytes(b"x" * cached.stat().st_size)
    elif damage == "cut":
        cached.write_bytes(archive.read_bytes()[:100])
    elif damage != "nothing":
        cached.unlink()
        cached.mkdir() if damage == "a directory" else cached.symlink_to(archive)
    if damage == "nothing":
        archive.unlink()
    second = run_module("xray_core", **options(base, tmp_path / "two", "26.7.28", **shared))
    assert not second["failed"] and second["via"] == (str(cached) if damage == "nothing" else base[1])
    assert (tmp_path / "two/xray/current/xray").is_file()
    if damage != "a directory":
        assert hashlib.sha256(cached.read_bytes()).hexdigest() == digest and not cached.is_symlink()


def test_a_cache_that_cannot_be_used_is_left_out(base, tmp_path, run_module):
    release(base[0], "26.7.28")
    (tmp_path / "file").write_text("")
    result = run_module("xray_core", **options(base, tmp_path, "26.7.28", cache_dir=str(tmp_path / "file")))
    assert not result["failed"] and result["via"] == base[1]


def test_a_wrong_hash_keeps_the_old_one(base, tmp_path, run_module):
    release(base[0], "26.7.28")
    run_module("xray_core", **options(base, tmp_path, "26.7.28"))
    release(base[0], "26.10.10").write_bytes(b"PK broken")
    found = run_module("xray_core", **options(base, tmp_path, "26.10.10"))
    assert found["failed"]
    assert "SHA-256" in found["msg"]
    assert (tmp_path / "xray" / "current").readlink() == Path("26.7.28")
    assert sorted(p.name for p in (tmp_path / "xray").iterdir()) == ["26.7.28", "current"]


def test_a_pin_beats_the_digest_file(base, tmp_path, run_module):
    archive = release(base[0], "26.7.28")
    assert run_module("xray_core", **options(base, tmp_path, "26.7.28", sha256="0" * 64))["failed"]
    good = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert not run_module("xray_core", **options(base, tmp_path, "26.7.28", sha256=good))["failed"]


def test_a_zip_on_the_target(base, tmp_path, run_module):
    archive = release(base[0], "26.7.28")
    found = run_module(
        "xray_core",
        version="26.7.28",
        file=str(archive),
        release_base="http://127.0.0.1:9",
        digest_base=base[1],
        dest=str(tmp_path / "x"),
    )
    assert not found["failed"], found


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped"])
def test_paths_that_escape_are_rejected(base, tmp_path, run_module, name):
    release(base[0], "26.7.28", members={name: "x"})
    found = run_module("xray_core", **options(base, tmp_path, "26.7.28"))
    assert found["failed"]
    assert "unsafe" in found["msg"]
    assert not (tmp_path / "escaped").exists()


def test_a_program_that_is_another_version_is_not_used(base, tmp_path, run_module):
    release(base[0], "26.7.28", message="1.8.3")
    found = run_module("xray_core", **options(base, tmp_path, "26.7.28"))
    assert found["failed"]
    assert "1.8.3" in found["msg"]


def test_a_missing_release_says_what_to_do(base, tmp_path, run_module):
    found = run_module("xray_core", **options(base, tmp_path, "1.2.3", sha256="0" * 64))
    assert found["failed"]
    assert "xray_proxy_file" in found["msg"]


class Proxy(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def proxy():
    def make(status: int) -> str:
        handler = type("P", (Proxy,), {"status": status})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    servers: list = []
    yield make
    for server in servers:
        server.shutdown()


@pytest.fixture
def door():
    """A port that takes connections, as the far end of the proxy does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def check(proxy_url: str, port: int, server: str = "127.0.0.1") -> dict:
    return {
        "url": proxy_url,
        "request_urls": ["http://site.test/"],
        "server": server,
        "port": port,
        "timeout": 3,
        "retries": 0,
    }


def test_a_request_that_gets_through(proxy, door, run_module):
    found = run_module("program_check_info", proxy=check(proxy(200), door))
    assert not found["failed"], found
    assert list(found["proxy"]) == ["http://site.test/"]


def test_the_environment_does_not_go_around_the_proxy(proxy, door, run_module, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = run_module("program_check_info", proxy=check(proxy(404), door))
    assert not found["failed"], found


def test_a_redirect_is_an_answer(serve, door, run_module):
    url, asked = serve(lambda _path, _headers: (302, {"Location": "http://other.test/"}, b""))
    found = run_module("program_check_info", proxy=check(url, door))
    assert not found["failed"] and [path for path, _login in asked] == ["http://site.test/"]


@pytest.mark.parametrize("url", ["site.test", "http://site.test/\u00fc", "http://site.test/a b", "http://[::1"])
def test_a_url_that_is_none(proxy, door, run_module, url):
    found = run_module("program_check_info", proxy={**check(proxy(200), door), "request_urls": [url]})
    assert found["failed"] and "malformed" in found["msg"], found


def test_each_broken_leg_has_its_own_sentence(proxy, door, run_module):
    dead = "http://127.0.0.1:9"
    assert "not listening at http://127.0.0.1:9" in run_module("program_check_info", proxy=check(dead, door))["msg"]
    rejection = run_module("program_check_info", proxy=check(proxy(503), 9))["msg"]
    assert "127.0.0.1:9" in rejection
    assert "xray_proxy_server" in rejection
    unknown = run_module("program_check_info", proxy=check(proxy(503), 443, "no-such-host.invalid"))["msg"]
    assert "no-such-host.invalid cannot be resolved" in unknown
    rejected = run_module("program_check_info", proxy=check(proxy(503), door))["msg"]
    for word in ("xray_proxy_uuid", "xray_proxy_public_key", "clocks", f"127.0.0.1:{door}"):
        assert word in rejected


def test_a_wrong_clock_and_an_old_client_are_named_first(proxy, door, run_module):
    options = check(proxy(503), door)
    begun = time.time()
    late = run_module("program_check_info", proxy=dict(options, controller_time=begun + 600))["msg"]
    behind = int(re.search(r"([0-9]+) seconds behind", late).group(1))
    assert 600 - (time.time() - begun) - 1 <= behind <= 600  # a busy machine takes seconds to start the module
    assert "xray_proxy_uuid" not in late
    old = run_module("program_check_info", proxy=dict(options, version="1.8.24", controller_time=time.time()))["msg"]
    assert "1.8.24 is older than 26.3.27" in old
    new = run_module("program_check_info", proxy=dict(options, version="26.7.28", controller_time=time.time() - 20))[
        "msg"
    ]
    assert "xray_proxy_uuid" in new


def test_mirrors_are_tried_in_order_and_each_failure_is_named(base, tmp_path, run_module):
    release(base[0], "26.7.28")
    first = "http://127.0.0.1:9/mirror"
    found = run_module("xray_core", **{**options(base, tmp_path, "26.7.28"), "release_base": [first, base[1]]})
    assert not found["failed"], found.get("msg")
    assert (found["via"], found["verified"]) == (base[1], "dgst")
    repeated = {**options(base, tmp_path, "26.7.28"), "release_base": [first, base[1] + "/nothing"]}
    failed = run_module("xray_core", **{**repeated, "dest": str(tmp_path / "other")})
    assert failed["failed"]
    for word in ("connection refused", "404", "xray_proxy_controller_zip"):
        assert word in failed["msg"]


def test_without_a_known_server_it_points_to_the_whole_config(proxy, run_module):
    arguments = {name: value for name, value in check(proxy(503), 443).items() if name not in ("server", "port")}
    failed = run_module("program_check_info", proxy=arguments)["msg"]
    assert "xray_proxy_config" in failed and "xray.log" in failed
    assert "xray_proxy_uuid" not in failed
