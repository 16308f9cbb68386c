"""The guard of the launch wrapper before the real gradio 3.41.2 with fastapi 0.94, and gradio 4.40.0 with fastapi 0.104.

Oracle: those libraries, and the uvicorn and starlette below them, decide what a request reaches. ``make gradio`` installs them.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.paths import ROOT

from lab.ports import free_port

WRAPPER = ROOT / "roles/webui_service/files/launch_webui.py"
PASSWORD = "correct-horse-battery"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"sdops:{PASSWORD}".encode()).decode()}
WRONG = {"Authorization": "Basic c2RvcHM6d3Jvbmc="}
ALLOWED = "https://panel.example.test"
# only whom a login page may not show
LABEL = "checkpoint in the page"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Guarded:
    port: int
    generation: int
    python: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def query(self, path, method="GET", headers=(), body=None, address="127.0.0.1") -> Answer:
        """``path`` goes out as it is; ``headers`` are pairs or a mapping, ``address`` is whom it comes from."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(address, 0))
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        connection.putrequest(method, path, skip_host=any(name == "Host" for name, _ in pairs))
        for name, value in pairs + ([("Content-Length", str(len(body)))] if body is not None else []):
            connection.putheader(name, value)
        connection.endheaders(body)
        with contextlib.closing(connection):
            got = connection.getresponse()
            return Answer(got.status, got.headers, got.read().decode("utf-8", "replace"))

    def log_in(self, password=PASSWORD, **more) -> Answer:
        form = urllib.parse.urlencode({"username": "sdops", "password": password}).encode()
        headers = [("Content-Type", "application/x-www-form-urlencoded"), *more.pop("headers", [])]
        return self.query("/login", "POST", headers, form, **more)

    def cookie(self) -> str:
        answer = self.log_in(address="127.0.0.9")
        assert answer.status == 200, answer
        return "; ".join(line.split(";")[0] for line in answer.headers.get_all("Set-Cookie"))

    def open_websocket(self, **headers) -> int:
        lines = {"Host": self.host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        lines.update({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers})
        with socket.create_connection(("127.0.0.1", self.port), 30) as client:
            text = "GET /queue/join HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n"
            client.sendall(text.encode())
            return int(client.recv(4096).split()[1])


@pytest.fixture(scope="module", params=[3, 4], ids=["gradio-3", "gradio-4"])
def guarded(request, tmp_path_factory):
    python = ROOT / f".work/gradio-{request.param}/bin/python"
    assert python.exists(), "The gradio that the WebUI uses is not installed here. Run make gradio."
    directory = tmp_path_factory.mktemp("guarded")
    webui = directory / "webui"
    shutil.copytree(Path(__file__).parent / "gradio_webui", webui)
    for name, text in (("css/x.css", "a {}"), (".git/config", "secret remote"), ("js/x.js", "secret script")):
        (webui / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        (webui / "assets" / name).write_text(text)
    (webui / "assets/css/.hidden").write_text("secret file")
    credentials = directory / "credentials"
    credentials.write_text(f"sdops:{PASSWORD}\n")
    credentials.chmod(0o600)
    port = free_port()
    config = {
        "webui_dir": str(webui),
        "args": ["--port", str(port), "--gradio-auth-path", str(credentials)],
        "environment": {"no_proxy": "*", "GRADIO_ANALYTICS_ENABLED": "False", "HOME": str(directory)},
        "api_auth_file": str(credentials),
        "allowed_origins": [ALLOWED],
    }
    (directory / "launch.json").write_text(json.dumps(config))
    log = directory / "log"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [python, "-u", WRAPPER, directory / "launch.json"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    deadline = time.monotonic() + 120
    while "The WebUI is up" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield Guarded(port, request.param, python)
    process.terminate()
    process.wait(20)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"])
@pytest.mark.parametrize("length_sent", [True, False])
def test_a_login_form_without_end_is_not_read(guarded, kind, length_sent):
    """Anybody may send one, and the form parser keeps it in memory or on the disk."""
    piece = b"--b\r\nContent-Disposition: form-data; name=username\r\n\r\n" if "multipart" in kind else b"username="
    length = "Content-Length: 100000000000" if length_sent else "Transfer-Encoding: chunked"
    with socket.create_connection(("127.0.0.1", guarded.port), 20) as client:
        lines = ["POST /login HTTP/1.1", f"Host: {guarded.host}", f"Content-Type: {kind}", length, "", ""]
        client.sendall("\r\n".join(lines).encode())
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20 and not select.select([client], [], [], 0)[0]:
                piece = piece + b"a" * (64 << 10)
                client.sendall(piece if length_sent else b"%x\r\n%b\r\n" % (len(piece), piece))
                sent, piece = sent + len(piece), b""
        assert sent < 32 << 20, "it was read for ever"
        with contextlib.suppress(ConnectionError):
            assert client.recv(4096).split()[1] == b"413"


def test_the_login_page_is_whole_and_shows_nothing_else(guarded):
    page = guarded.query("/", headers={"Accept-Encoding": "gzip"})
    assert page.status == 200 and '"auth_required":true' in page.text
    assert LABEL not in page.text and "gradio_api_info = {" not in page.text
    waiting, seen = re.findall(r'(?:src|href)="\./([^"]+)"', page.text) + ["theme.css", "favicon.ico"], set()
    while waiting and len(seen) < 80:
        name = waiting.pop(0)
        answer = guarded.query("/" + name)
        assert answer.status == 200, name
        seen.add(name)
        parts = re.findall(r'["(](?:\./|assets/)([\w.-]+\.(?:js|css|woff2?))["?)]', answer.text)
        waiting += sorted({"assets/" + part for part in parts} - seen - set(waiting))
    assert len(seen) == 80


@pytest.mark.parametrize(
    "path",
    [
        "/config",
        "/config/",
        "/info",
        "/file=/etc/passwd",
        "/file=launch.py",
        "/file/launch.py",
        "/proxy=http://127.0.0.1:9/x",
        "/internal/sysinfo",
        "/docs",
        "/openapi.json",
        "/sdapi/v1/options",
        "/custom_component/textbox/component/index.js",
        "/queue/data?session_hash=a",
        "/queue/status",
        "/token",
        "/app_id",
        "/user",
        "/logout",
        "/heartbeat/x",
        "/monitoring",
        "/upload_progress?upload_id=x",
        "/stream/a/1/2",
        "/login_check",
        "/x",
    ],
)
def test_everything_else_requires_a_login(guarded, path):
    for headers in ({}, {"Cookie": "access-token=guessed; access-token-unsecure=; access-token-x"}):
        assert guarded.query(path, headers=headers).status == 401


@pytest.mark.parametrize("path", ["/run/render", "/api/predict", "/queue/join", "/upload", "/reset", "/", "/theme.css"])
def test_state_changing_requests_require_a_login(guarded, path):
    assert guarded.query(path, "POST", {"Content-Type": "application/json"}, b"{}").status == 401


def test_who_logs_in_generates_over_the_queue(guarded):
    """The whole road of a browser: login, page, settings of the page, and the button with its answer from the queue."""
    cookie = guarded.cookie()
    assert LABEL in guarded.query("/", headers={"Cookie": cookie}).text
    assert guarded.query("/config", headers={"Cookie": cookie}).status == 200
    command = [guarded.python, Path(__file__).parent / "gradio_webui/generate.py", f"http://{guarded.host}", cookie]
    done = subprocess.run([*command, f"http://{guarded.host}"], capture_output=True, text=True, check=False)
    assert done.stdout == '["rendered a hill"]\n', done.stderr
    done = subprocess.run([*command, "https://evil.test"], capture_output=True, text=True, check=False)
    assert done.returncode and "403" in done.stderr


CROSS_SITE = [
    "https://evil.test",
    "null",
    "",
    "http://{host}.evil.test",
    "http://evil.test/{host}",
    "http://{host}@evil.test",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "http://[::1]:{port}",
    "http://localhost:{port}",
    "file://{host}",
    "{host}",
    "http://{host}, http://evil.test",
    "https://panel.example.test.evil.test",
    "http://panel.example.test",
    "https://panel.example.test:444",
]


@pytest.mark.parametrize("origin", CROSS_SITE)
def test_another_sites_page_changes_nothing(guarded, origin):
    origin = origin.format(host=guarded.host, port=guarded.port)
    cookie = guarded.cookie()
    own = {"Origin": origin, "Cookie": cookie, "X-Forwarded-Host": "evil.test", "Content-Type": "application/json"}
    for path in ("/queue/join", "/api/predict", "/run/render", "/sdapi/v1/options", "/upload", "/reset"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "FOO"):
            assert guarded.query(path, method, {**own, **BASIC}, b"{}").status == 403
    assert guarded.log_in(headers=[("Origin", origin)]).status == 403
    assert guarded.open_websocket(Origin=origin, Cookie=cookie) == 403
    # what only reads is left to the browser, which keeps the answer from that page
    assert guarded.query("/config", headers=own).status == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://{host}", "{host}"),
        ("HTTP://{host}", "{host}"),
        ("https://a123.seetacloud.com:8443", "a123.seetacloud.com:8443"),
        ("https://A123.seetacloud.com:8443", "a123.SEETACLOUD.com:8443"),
        ("https://sd.example.test", "sd.example.test"),
        ("https://sd.example.test", "sd.example.test:443"),
        ("http://sd.example.test:80", "sd.example.test"),
        ("http://[::1]:6006", "[::1]:6006"),
        (ALLOWED, "127.0.0.1:6006"),
        (ALLOWED + ":443", "127.0.0.1:6006"),
    ],
)
def test_its_own_page_may(guarded, origin, host):
    own = {
        "Origin": origin.format(host=guarded.host),
        "Host": host.format(host=guarded.host),
        "Cookie": guarded.cookie(),
    }
    assert guarded.query("/sdapi/v1/options", "POST", {**own, **BASIC}, b"{}").status == 200
    # gradio 4 has no websocket, which the server below it says with 403 too
    assert guarded.open_websocket(**own) == (101 if guarded.generation == 3 else 403)
    assert guarded.log_in(headers=list(own.items()), address="127.0.0.9").status == 200


def test_several_origins_or_hosts_are_none(guarded):
    headers = [("Host", guarded.host), ("Origin", f"http://{guarded.host}"), *BASIC.items()]
    assert guarded.query("/sdapi/v1/options", "POST", headers, b"{}").status == 200
    for more in (("Origin", "https://evil.test"), ("Origin", f"http://{guarded.host}")):
        assert guarded.query("/sdapi/v1/options", "POST", [*headers, more], b"{}").status == 403
        assert guarded.query("/sdapi/v1/options", "POST", [headers[0], more, *headers[1:]], b"{}").status == 403
    assert guarded.query("/sdapi/v1/options", "POST", [("Host", "evil.test"), *headers], b"{}").status in (400, 403)


TRICKS = ["../", "%2e%2e/", ".%2e/", "%2E./", "./../", "/../", "a/../../", "%2e/%2e%2e/", "..%2f", "..//", "%2e%2e%2f"]
DEEPER = ["%252e%252e/", "..%255c", "..\\", "%5c..%5c..%5c", "..;/", "%00/../", "%c0%ae%c0%ae/"]


@pytest.mark.parametrize("trick", TRICKS + DEEPER)
@pytest.mark.parametrize("open_below", ["/webui-assets/css/", "/static/", "/assets/"])
def test_no_path_leads_out_of_the_open_directories(guarded, trick, open_below):
    """That the server itself resolves these is seen by asking with the password."""
    path = open_below + trick + ".git/config"
    assert guarded.query(path).status in (401, 400), path
    if trick in TRICKS and open_below == "/webui-assets/css/":
        assert guarded.query(path, headers=BASIC).text == "secret remote"
    for rest in ("js/x.js", "css/.hidden", "../../internal/sysinfo", "../config"):
        assert "secret" not in guarded.query(open_below + trick + rest).text


def test_open_files(guarded):
    assert guarded.query("/webui-assets/css/x.css").text == "a {}"
    assert guarded.query("/webui-assets/css/x.css?v=1").status == 200
    for path in ("/webui-assets/css/.hidden", "/webui-assets/js/x.js", "/webui-assets/css", "//webui-assets/css/x.css"):
        assert guarded.query(path).status == 401


def attempts(guarded, address, seconds, send_login):
    """(guesses that were judged, all of them) of one client in ``seconds``."""
    processed = total = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = send_login(address)
        total += 1
        assert answer.status in (400, 401, 429)
        processed += answer.status != 429
        if answer.status == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 10
            time.sleep(0.02)
    return processed, total


@pytest.mark.parametrize("login_method", ["login", "basic"])
def test_a_client_that_guesses_is_slowed_down(guarded, login_method):
    query = {
        "login": lambda address, password="wrong": guarded.log_in(password, address=address),
        "basic": lambda address: guarded.query("/sdapi/v1/options", headers=WRONG, address=address),
    }[login_method]
    attacker = {"login": "127.0.0.21", "basic": "127.0.0.22"}[login_method]
    cookie = guarded.cookie()
    processed, total = attempts(guarded, attacker, 3, query)
    assert processed <= 11 < total
    # nor is the right password judged now, by any door: that would tell it
    assert guarded.log_in(address=attacker).status == 429
    assert guarded.query("/sdapi/v1/options", headers=BASIC, address=attacker).status == 429
    # everybody else, and who is logged in already, notices nothing
    assert guarded.log_in(address="127.0.0.23").status == 200
    assert guarded.query("/config", headers={"Cookie": cookie}, address=attacker).status == 200
    started = time.monotonic()
    assert {guarded.query("/sdapi/v1/options", headers=BASIC).status for _ in range(50)} == {200}
    assert time.monotonic() - started < 10


def test_guesses_at_the_same_time_count_too(guarded):
    """All are on their way before the first one is judged."""
    form = b"username=sdops&password=wrong"
    head = f"POST /login HTTP/1.1\r\nHost: {guarded.host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    clients = []
    for _ in range(40):
        client = socket.create_connection(("127.0.0.1", guarded.port), 30, source_address=("127.0.0.31", 0))
        client.sendall(f"{head}Content-Length: {len(form)}\r\n\r\n".encode())
        clients.append(client)
    for client in clients:
        client.sendall(form)
    answers = [int(client.recv(4096).split()[1]) for client in clients]
    for client in clients:
        client.close()
    assert answers.count(400) <= 11 and answers.count(429) >= 29


def wrapper() -> dict:
    text = WRAPPER.read_text()
    names: dict = {}
    exec(compile(text[: text.rindex("main()")], WRAPPER.name, "exec"), names)
    return names


def test_many_clients_are_slowed_down_together_and_discarded():
    now = [0.0]
    limiter = wrapper()["LoginLimiter"](lambda: now[0])
    limiter.succeeded("owner")
    processed = 0
    for number in range(20000):
        now[0] += 0.005
        if not limiter.wait(f"10.{number}"):
            limiter.count(f"10.{number}")
            processed += 1
    assert processed <= 60 + 100 + 1
    assert limiter.wait("somebody else") > 0
    assert limiter.wait("owner") == 0
    now[0] += 120
    assert limiter.wait("somebody else") == 0
    for number in range(20000):
        limiter.count(f"11.{number}")
        limiter.succeeded(f"12.{number}")
    assert len(limiter.failed) <= limiter.MOST and len(limiter.known) <= limiter.MOST


def test_whose_attempts_are_counted_together():
    guard = wrapper()["Guard"]("a:b")
    headers = wrapper()["Headers"]

    def client(address, host="x.test"):
        scope = {"client": (address, 1), "headers": [(b"host", host.encode())]}
        return guard.client_of(scope, headers(scope))

    assert client("10.0.0.1") == client("::ffff:10.0.0.1") != client("10.0.0.2")
    assert client("2001:db8::1") == client("2001:db8::2") != client("2001:db8:0:1::1")
    # our own modules and an SSH tunnel, and what a proxy on this machine passes on
    assert (
        client("127.0.0.1", "127.0.0.1:6006")
        == client("127.0.0.1", "localhost")
        != client("127.0.0.1", "a.gradio.live")
    )
    assert len(client("x" * 1000)) == 64
