"""SOCKS proxies, by a server of RFC 1928 and 1929 on 127.0.0.1; and tokens as they come out of pipes and word processors."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SdopsError, TransferError
from ansible_collections.sdops.webui.plugins.module_utils.secrets import clean_token
from ansible_collections.sdops.webui.plugins.module_utils.transfer import http

BODY = b"the file\n"


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


class Socks:
    """Connects to ``target`` whatever is asked for; ``seen`` has (type of address, address) of each request."""

    def __init__(self, target: int, login: tuple[str, str] | None, reply: int) -> None:
        self.target, self.login, self.reply = target, login, reply
        self.seen: list[tuple[int, str]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=self.listener.accept()[:1], daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(ConnectionError):
            _version, count = read(sock, 2)
            methods = read(sock, count)
            method = 2 if self.login else 0
            if method not in methods:
                sock.sendall(b"\x05\xff")
                return
            sock.sendall(bytes([5, method]))
            if self.login:
                user = read(sock, read(sock, 2)[1]).decode()
                password = read(sock, read(sock, 1)[0]).decode()
                fine = (user, password) == self.login
                sock.sendall(b"\x01" + (b"\x00" if fine else b"\x01"))
                if not fine:
                    return
            kind = read(sock, 4)[3]
            address = read(sock, read(sock, 1)[0]).decode() if kind == 3 else socket.inet_ntoa(read(sock, 4))
            read(sock, 2)
            self.seen.append((kind, address))
            sock.sendall(bytes([5, self.reply, 0, 1]) + struct.pack(">4sH", b"\x7f\0\0\1", 0))
            if self.reply:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as there:
                restored = threading.Thread(target=self.copy, args=(there, sock), daemon=True)
                restored.start()
                self.copy(sock, there)
                restored.join(5)

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in iter(lambda: source.recv(65536), b""):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def socks(serve):
    running = []

    def start(login=None, reply=0) -> Socks:
        url, _ = serve(lambda *_: (200, {"Connection": "close"}, BODY))
        running.append(Socks(int(url.rpartition(":")[2]), login, reply))
        return running[-1]

    yield start
    for each in running:
        each.listener.close()


@pytest.fixture
def environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def slept(retries: int = 3) -> tuple[http.HttpClient, list[float]]:
    waits: list[float] = []
    return http.HttpClient(retries=retries, timeout=5, sleep=waits.append), waits


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "http_proxy"])
@pytest.mark.parametrize("scheme", ["socks5h", "SOCKS5H"])
def test_the_proxy_of_the_environment_resolves_the_name(socks, environment, name, scheme):
    """The host has no address here: it is the proxy that knows it."""
    proxy = socks()
    environment.setenv(name, f"{scheme}://127.0.0.1:{proxy.port}")
    client, waits = slept()
    assert client.request("GET", "http://files.nowhere.test/x").content == BODY
    assert (proxy.seen, waits) == ([(3, "files.nowhere.test")], [])


def test_the_option_with_a_login(socks, environment):
    proxy = socks(login=("me", "pass word"))
    client = http.HttpClient(proxy=f"socks5h://me:pass%20word@127.0.0.1:{proxy.port}", retries=0, timeout=5)
    assert client.request("GET", "http://files.nowhere.test/x").content == BODY
    client = http.HttpClient(proxy=f"socks5h://me:wrong-secret@127.0.0.1:{proxy.port}", retries=0, timeout=5)
    with pytest.raises(TransferError, match="the SOCKS proxy says: .*authentication failed") as caught:
        client.request("GET", "http://files.nowhere.test/x")
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(("reply", "message"), [(4, "Host unreachable"), (2, "not allowed by ruleset")])
def test_the_proxys_message_is_reported(socks, environment, reply, message):
    proxy = socks(reply=reply)
    client = http.HttpClient(proxy=f"socks5h://127.0.0.1:{proxy.port}", retries=0, timeout=5)
    with pytest.raises(TransferError, match=f"the SOCKS proxy says: .*{message}"):
        client.request("GET", "http://files.nowhere.test/x")


def test_a_proxy_that_is_not_there(environment):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = http.HttpClient(proxy=f"socks5://127.0.0.1:{port}", retries=0, timeout=5)
    with pytest.raises(TransferError, match="the proxy: connection refused"):
        client.request("GET", "http://127.0.0.1:9/x")


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4a", "SOCKS5H"])
def test_without_pysocks_the_error_is_reported_at_once(environment, monkeypatch, scheme):
    monkeypatch.setattr(http, "HAS_SOCKS", False)
    environment.setenv("ALL_PROXY", f"{scheme}://me:s3cret@127.0.0.1:1080")
    client, waits = slept()
    with pytest.raises(TransferError, match="127.0.0.1:1080 needs the Python library PySocks.*role base") as caught:
        client.request("GET", "https://files.nowhere.test/x")
    assert waits == [] and "s3cret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks9://127.0.0.1:1", "ftp://127.0.0.1:1", "vless://x@127.0.0.1:1"])
def test_another_scheme_is_reported_at_once(environment, proxy):
    environment.setenv("ALL_PROXY", proxy)
    client, waits = slept()
    with pytest.raises(TransferError, match="its scheme is none of"):
        client.request("GET", "https://files.nowhere.test/x")
    assert waits == []


# --- tokens


@pytest.mark.parametrize("around", ["%s\n", "\r\n%s\r\n", " %s\t", "\u00a0%s", "%s"])
def test_white_space_around_a_token_is_taken_away(around):
    assert clean_token(around % "hf_abc-1.2~3+4/5==", "huggingface_token") == "hf_abc-1.2~3+4/5=="


@pytest.mark.parametrize("empty", [None, "", "\n", "  "])
def test_no_token(empty):
    assert clean_token(empty, "civitai_token") is None


@pytest.mark.parametrize(
    ("token", "what"),
    [
        ("\u201chf_s3cret\u201d", "LEFT DOUBLE QUOTATION MARK, character 1 of 11"),
        ("\u2018hf_s3cret\u2019", "LEFT SINGLE QUOTATION MARK"),
        ("hf_s3cret\u2013x", "EN DASH, character 10"),
        ("\u300chf_s3cret\u300d", "LEFT CORNER BRACKET"),
        ("'hf_s3cret'", "APOSTROPHE"),
        ("hf_s3\ncret", "a control character"),
        ("hf_s3cret\u200b", "ZERO WIDTH SPACE"),
        ("Bearer hf_s3cret", "SPACE"),
    ],
)
def test_what_is_no_token_is_rejected_by_the_options_name(token, what):
    with pytest.raises(SdopsError, match=f"huggingface_token holds a character that no token has .{what}") as caught:
        clean_token(token, "huggingface_token")
    assert "s3cret" not in str(caught.value) and "hf_" not in str(caught.value)


def test_modules_accept_and_reject_socks_urls(run_module, serve, tmp_path):
    url, seen = serve(lambda *_: (404, {"X-Error-Code": "EntryNotFound"}, b""))
    options = {
        "repo": "a/b",
        "file": "c.safetensors",
        "dest": str(tmp_path / "c"),
        "huggingface_endpoint": url,
        "retries": 0,
    }
    assert run_module("huggingface_download", **options, huggingface_token="hf_s3cret-token\n")["failed"]
    assert {token for _, token in seen} == {"Bearer hf_s3cret-token"}
    found = run_module("huggingface_download", **options, huggingface_token="\u201chf_s3cret-token\u201d")
    assert "huggingface_token holds a character" in found["msg"]
    assert "s3cret" not in json.dumps(found)
    found = run_module("model_files", webui_dir=str(tmp_path), models=[], civitai_token="\u201cs3cret-token\u201d")
    assert "civitai_token holds a character" in found["msg"]
