"""Magnet links through a real aria2: a tracker and a seeder on 127.0.0.1."""

from __future__ import annotations

import hashlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.sources import magnet

from lab.servers.build import models

PIECE = 1 << 18


@pytest.fixture(autouse=True)
def aria2():
    assert shutil.which("aria2c"), "aria2 is missing: apt-get install aria2 (make test does it where it may)"


TOPIC = "a" * 40


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(value[k]) for k in sorted(value)) + b"e"


@pytest.fixture
def tracker():
    peers: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
            peers.add(int(query["port"][0]))
            compact = b"".join(socket.inet_aton("127.0.0.1") + struct.pack(">H", port) for port in peers)
            body = bencode({"interval": 2, "min interval": 1, "peers": compact})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/announce", peers
    server.shutdown()
    server.server_close()


@pytest.fixture
def seed(tmp_path, tracker):
    """``seed(files, name)`` gives the magnet link of a torrent that a local aria2 seeds."""
    announce, peers = tracker
    running = []

    def make(files: dict[str, bytes], name: str) -> str:
        home = tmp_path / "seeder"
        data = b"".join(files.values())
        info = {"name": name, "piece length": PIECE}
        info["pieces"] = b"".join(hashlib.sha1(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE))
        if list(files) == [name]:
            info["length"] = len(data)
        else:
            info["files"] = [{"length": len(content), "path": path.split("/")} for path, content in files.items()]
        for path, content in files.items():
            dest = home / path if list(files) == [name] else home / name / path
            dest.parent.mkdir(parents=True, exist_ok=True)
            dest.write_bytes(content)
        (tmp_path / "x.torrent").write_bytes(bencode({"announce": announce, "info": info}))
        make.torrent = tmp_path / "x.torrent"
        argv = [
            "aria2c",
            "--no-conf=true",
            "--enable-dht=false",
            "--dir",
            str(home),
            "--seed-ratio=0.0",
            "--quiet=true",
        ]
        running.append(subprocess.Popen([*argv, "--check-integrity=true", str(tmp_path / "x.torrent")]))
        deadline = time.monotonic() + 20
        while not peers:
            assert time.monotonic() < deadline and running[0].poll() is None, "the seeder did not start"
            time.sleep(0.1)
        link = hashlib.sha1(bencode(info)).hexdigest()
        return f"magnet:?xt=urn:btih:{link}&dn={quote(name)}&tr={quote(announce + '?passkey=very-secret-key')}"

    yield make
    for process in running:
        process.terminate()
        process.wait(20)


def test_one_file(target, seed, run_module):
    content = models.safetensors_bytes("torrent", models.checkpoint_tensors(1, "F16"))
    link = seed({"t.safetensors": content}, "t.safetensors")
    entry = {"source": link, "kind": "checkpoint", "name": "mine.safetensors"}
    planned = run_module("model_files", check=True, **target.arguments, models=[entry])
    assert (planned["failed"], planned["changed"]) == (False, True)
    found = run_module("model_files", **target.arguments, models=[entry])
    assert not found["failed"], found.get("msg")
    assert target.path("models/Stable-diffusion/mine.safetensors").read_bytes() == content
    assert found["models"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert "very-secret-key" not in str(found)
    assert not (target.webui / ".sdops" / "magnet").exists() or not list((target.webui / ".sdops" / "magnet").iterdir())
    repeated = run_module("model_files", **target.arguments, models=[entry])
    assert (repeated["failed"], repeated["changed"]) == (False, False)


def test_one_of_several_and_the_wrong_hash(target, seed, run_module):
    content = models.safetensors_bytes("torrent", models.checkpoint_tensors(1, "F16"))
    link = seed({"a/x.safetensors": content, "a/readme.txt": b"hello"}, "pack")
    entry = {"source": link, "kind": "lora", "name": "mine.safetensors", "file": "x.safetensors", "sha256": "0" * 64}
    found = run_module("model_files", **target.arguments, models=[entry])
    assert found["failed"]
    assert "SHA-256" in found["msg"]
    assert not target.path("models/Lora/mine.safetensors").exists()
    found = run_module(
        "model_files", **target.arguments, models=[{**entry, "sha256": hashlib.sha256(content).hexdigest()}]
    )
    assert not found["failed"], found.get("msg")
    assert target.path("models/Lora/mine.safetensors").read_bytes() == content


def test_two_files_of_one_torrent_do_not_meet(target, seed, run_module):
    one, two = (models.safetensors_bytes(name, models.checkpoint_tensors(1, "F16")) for name in ("one", "two"))
    link = seed({"x.safetensors": one, "y.safetensors": two}, "pack")
    specs = [
        {"source": link, "kind": "lora", "name": name, "file": name} for name in ("x.safetensors", "y.safetensors")
    ]
    found = run_module("model_files", **target.arguments, models=specs, parallel=2)
    assert not found["failed"], found.get("msg")
    assert target.path("models/Lora/x.safetensors").read_bytes() == one
    assert target.path("models/Lora/y.safetensors").read_bytes() == two
    assert list((target.webui / ".sdops" / "magnet").iterdir()) == []
    assert run_module("model_files", **target.arguments, models=specs)["changed"] is False


def test_an_aria2_that_does_not_end_is_ended(monkeypatch, tmp_path):
    class Process:
        stdin = (tmp_path / "in").open("wb")
        done: list[str] = []

        def poll(self):
            return None

        def terminate(self):
            self.done.append("terminate")

        def kill(self):
            self.done.append("kill")

        def wait(self, timeout=None):
            if timeout:
                raise subprocess.TimeoutExpired("aria2c", timeout)

    def interrupted(count):
        raise KeyboardInterrupt

    process = Process()
    monkeypatch.setattr(magnet.subprocess, "Popen", lambda *args, **more: process)
    with pytest.raises(KeyboardInterrupt):
        magnet._run_aria2([], b"", str(tmp_path), interrupted, 9)
    assert process.done == ["terminate", "kill"]


def test_missing_aria2_is_reported(target, run_module, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    entry = {"source": "magnet:?xt=urn:btih:" + "a" * 40, "kind": "checkpoint"}
    found = run_module("model_files", **target.arguments, models=[entry])
    assert found["failed"]
    assert "apt-get install aria2" in found["msg"]


def test_only_the_requested_file_comes_and_its_space_is_planned(target, seed, run_module):
    """Oracle: aria2's own --show-files."""
    content = models.safetensors_bytes("torrent", models.checkpoint_tensors(1, "F16"))
    huge = b"x" * (20 * PIECE)
    link = seed({"a/x.safetensors": content, "b/huge.bin": huge, "b/x.safetensors": b"no"}, "pack")
    entry = {"source": link.replace("magnet:", "MAGNET:"), "kind": "lora", "name": "mine.safetensors"}
    for more in ({}, {"file": "x.safetensors"}):
        found = run_module("model_files", check=True, **target.arguments, models=[{**entry, **more}])
        assert found["failed"] and f"pack/b/huge.bin ({len(huge)} bytes)" in found["msg"] and "Set file" in found["msg"]
    entry["file"] = "a/x.safetensors"
    planned = run_module("model_files", check=True, **target.arguments, models=[entry])
    assert (planned["bytes_planned"], planned["space_needed"]) == (len(content), len(content))
    assert not (target.webui / ".sdops").exists()
    found = run_module("model_files", **target.arguments, models=[entry])
    assert not found["failed"], found.get("msg")
    assert target.path("models/Lora/mine.safetensors").read_bytes() == content
    assert found["bytes_fetched"] == len(content)
    assert list((target.webui / ".sdops" / "magnet").iterdir()) == []
    displayed = subprocess.run(
        ["aria2c", "--show-files", str(seed.torrent)], capture_output=True, text=True, check=True
    ).stdout
    for file in magnet.list_torrent_files(seed.torrent.read_bytes()):
        assert f"{file.number}|./{file.path}" in displayed.replace(" ", "")


def test_a_torrent_that_does_not_fit_is_not_begun(target, seed, run_module, monkeypatch, tmp_path):
    """A fake of statvfs would be in another process: the torrent says that its file is larger than any disk."""
    link = seed({"t.safetensors": b"x" * 1000}, "t.safetensors")
    torrent = seed.torrent.read_bytes().replace(b"6:lengthi1000e", b"6:lengthi%de" % (1 << 48))
    from ansible_collections.sdops.webui.plugins.module_utils.errors import InsufficientSpaceError
    from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
    from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry

    monkeypatch.setattr(magnet, "_fetch_metadata", lambda *_: torrent)
    params = {name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}
    installer = make_installer({**params, **target.arguments}, str(target.webui), True)
    with pytest.raises(InsufficientSpaceError, match="GiB are needed"):
        installer.install_all([parse_model_entry({"source": link, "kind": "checkpoint"})], 1)


def fake_aria2(monkeypatch, tmp_path, status: int) -> None:
    program = tmp_path / "bin" / "aria2c"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (9, "not enough free space on the disk of /.*free space"),
        (16, "cannot write below /"),
        (19, "name of a tracker cannot be resolved"),
        (26, "torrent is damaged"),
        (28, "Install a newer one"),
        (7, "nobody who has it was found"),
        (99, "nobody who has it was found"),
    ],
)
def test_what_aria2s_exit_status_means(monkeypatch, tmp_path, status, message):
    """https://aria2.github.io/manual/en/html/aria2c.html#exit-status"""
    fake_aria2(monkeypatch, tmp_path, status)
    with pytest.raises((magnet.MagnetError, magnet.NoPeersError), match=f"exit status {status}.: .*{message}"):
        magnet._run_aria2([], b"", str(tmp_path), lambda count: None, 9)


def test_what_a_real_aria2_says_of_a_damaged_torrent_and_of_a_missing_option(tmp_path):
    (tmp_path / "x.torrent").write_bytes(b"no torrent")
    for options, status in (["--torrent-file=%s" % (tmp_path / "x.torrent")], (25, 26)), (["--no-such-option"], (28,)):
        with pytest.raises(magnet.MagnetError) as caught:
            magnet._run_aria2(options, b"", str(tmp_path), lambda count: None, 9)
        assert any(f"exit status {each}" in str(caught.value) for each in status)
        assert "nobody" not in str(caught.value)


@pytest.mark.parametrize(
    ("link", "topic"),
    [
        (f"magnet:?xt=urn:btih:{TOPIC}", TOPIC),
        (f"MAGNET:?XT=URN:BTIH:{TOPIC.upper()}&dn=x", TOPIC),
        (f"magnet:?dn=x&xt.1=urn%3Abtih%3A{TOPIC}", TOPIC),
        ("magnet:?xt=urn:btih:" + "ab2c" * 8, "ab2c" * 8),
        (f"magnet:?xt=urn:btmh:1220{'b' * 64}&xt=urn:btih:{TOPIC}", TOPIC),
    ],
)
def test_links_however_they_are_written(link, topic):
    cleaned, found, _name = magnet.parse_magnet_link(link)
    assert found == topic
    assert cleaned.startswith("magnet:?xt=urn:btih:" + topic[:1]) or cleaned.lower().startswith("magnet:?xt=urn:btih:")
    assert "btmh" not in cleaned


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (f"magnet:?xt=urn:btmh:1220{'b' * 64}", "BitTorrent version 2"),
        (f"magnet:?dn=x&xt=URN:BTMH:1220{'b' * 64}&tr=http://t.test/secret", "BitTorrent version 2"),
        ("magnet:?xt=urn:btih:abc", "copy it again"),
        ("magnet:?dn=x", "copy it again"),
        ("magnet:?xt=urn:sha1:" + "a" * 32, "copy it again"),
    ],
)
def test_links_that_cannot_be_used(target, run_module, link, message):
    found = run_module("model_files", **target.arguments, models=[{"source": link, "kind": "lora"}])
    assert found["failed"] and message in found["msg"] and "secret" not in found["msg"]


@pytest.mark.parametrize(
    "torrent",
    [
        b"", b"d", b"i1e", b"l" * 5000, b"d4:infod4:name1:xe", b"d4:infod6:lengthi-1e4:name1:xee", b"9999999999:x",
        b"d4:infod6:lengthi1e4:name2:..ee", b"d4:infod5:filesld6:lengthi1e4:pathl2:..1:xeee4:name1:xee", b"d4:info4:name",
    ],
)  # fmt: skip
def test_damaged_metadata(torrent):
    with pytest.raises(magnet.MagnetError, match="damaged"):
        magnet.list_torrent_files(torrent)
