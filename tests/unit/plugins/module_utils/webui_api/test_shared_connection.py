"""Several requests over one connection: who has its other end is checked before the password goes over it, and never skipped."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import WebuiError
from ansible_collections.sdops.webui.plugins.module_utils.webui_api.client import MAX_ERROR_BYTES, Webui


class Host(ThreadingHTTPServer):
    """A WebUI that keeps connections open; ``seen`` has (client's port, path, whether with a password) of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, bool]] = []
        self.checked: list[int] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def connect(self) -> Webui:
        return Webui(self.url, "user:password", check=lambda sock: self.checked.append(sock.getsockname()[1]))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def do_GET(self) -> None:
        self.server.seen.append((self.client_address[1], self.path, "Authorization" in self.headers))
        body = json.dumps("x" * (2 * MAX_ERROR_BYTES if self.path == "/large-error" else 1)).encode()
        self.send_response(500 if "error" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/last":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path in ("/last", "/gone")

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def host():
    with Host() as server:
        yield server
        server.shutdown()


def ports(host: Host) -> list[int]:
    return [port for port, _path, _login in host.seen]


def test_each_request_has_a_connection_of_its_own(host):
    webui = host.connect()
    for _ in range(2):
        webui.request("/a")
    assert len(set(ports(host))) == 2 and host.checked == ports(host)


def test_a_shared_connection_is_checked_once_before_the_first_password(host):
    webui = host.connect()
    with webui.one_connection():
        webui.request("/ping", login=False)
        assert host.checked == []
        for path in ("/a", "/b", "/c"):
            webui.request(path)
    assert len(set(ports(host))) == 1 and host.checked == ports(host)[:1]
    assert [login for _port, _path, login in host.seen] == [False, True, True, True]
    webui.request("/after")
    assert len(set(ports(host))) == 2 and len(host.checked) == 2


@pytest.mark.parametrize("path", ["/last", "/large-error"])
def test_a_connection_that_ends_is_followed_by_a_checked_one(host, path):
    webui = host.connect()
    with webui.one_connection():
        for each in (path, "/b"):
            try:
                webui.request(each)
            except WebuiError as exc:
                assert "answered 500" in str(exc)
    assert len(set(ports(host))) == 2 and host.checked == ports(host)


def test_a_connection_that_has_ended_unsaid_is_not_opened_again_by_itself(host):
    """http.client would, and send the password to whoever has the port by then."""
    webui = host.connect()
    with webui.one_connection():
        webui.request("/gone")
        with pytest.raises(WebuiError, match="does not answer"):
            for _ in range(2):  # the first one may still be written
                webui.request("/b")
                pytest.fail("an answer came over a connection that had ended")
        assert [path for _port, path, _login in host.seen] == ["/gone"]
        webui.request("/c")
    assert len(set(ports(host))) == 2 and host.checked == ports(host)


def test_a_rejected_connection_gets_no_password_and_is_not_kept(host):
    def reject(_connection: object) -> None:
        raise WebuiError("not trusted")

    webui = Webui(host.url, "user:password", check=reject)
    with webui.one_connection():
        webui.request("/ping", login=False)
        for _ in range(2):
            with pytest.raises(WebuiError, match="not trusted"):
                webui.request("/a")
    assert [path for _port, path, _login in host.seen] == ["/ping"]
