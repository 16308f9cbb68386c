"""The password goes only to the process that supervisord runs. Oracle: a real process that has the port and writes down all it gets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils import procfs
from helpers.paths import ROOT

from lab.ports import free_port

# answers everything as the API does, and keeps what it was sent
SERVER = """
import http.server, json, os, socket, sys
port, record, family = int(sys.argv[1]), sys.argv[2], sys.argv[3]
STATE = {"state": {"job_count": 1, "sampling_step": 1}, "sd_model_checkpoint": "a", "jpeg_quality": 80, "images": ["AAAA"]}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with open(record, "a") as file:
            file.write(self.requestline + "\\n" + str(self.headers))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps(STATE).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if family == "6" else socket.AF_INET
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == "6":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::" if family == "6" else "127.0.0.1", port))
        self.server_address, self.server_name, self.server_port = ("", port), "", port
if len(sys.argv) > 4:
    os.setuid(int(sys.argv[4]))
Server(("", port), Handler).serve_forever()
"""


def listening(port: int, count: int = 1) -> bool:
    return len(procfs.listening_inodes([port])[port]) >= count


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def serve(tmp_path, port):
    """Start the server beside supervisord; gives the file of what it got."""
    running = []

    def start(family="4", *user):
        # a directory in which any user may write
        record = tmp_path / f"record{len(running)}"
        record.touch(mode=0o666)
        record.chmod(0o666)
        command = [sys.executable, "-c", SERVER, str(port), str(record), family, *user]
        process = subprocess.Popen(command)
        running.append(process)
        wait_for(lambda: listening(port) or process.poll() is not None)
        assert process.poll() is None
        return record

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def access(tmp_path, port):
    credentials = tmp_path / "credentials"
    credentials.write_text("sdops:secret\n")
    credentials.chmod(0o600)
    return {"url": f"http://127.0.0.1:{port}", "credentials_file": str(credentials)}


@pytest.fixture
def program(supervisor, run_module, tmp_path, port, access):
    """The server under supervisord; gives the file of what it got."""
    script, record = tmp_path / "server.py", tmp_path / "record"
    script.write_text(SERVER)
    record.touch()

    def start(command="{python} {script} {port} {record} 4"):
        text = command.format(python=sys.executable, script=script, port=port, record=record)
        arguments = {"name": "webui", "supervisor_dir": str(supervisor), "command": text, "startsecs": 0}
        assert not run_module("supervisor_program", **arguments)["failed"]
        access.update(program="webui", supervisor_dir=str(supervisor))
        return record

    yield start
    run_module("supervisor_program", name="webui", supervisor_dir=str(supervisor), state="absent")


def every_module(run_module, access, tmp_path) -> list:
    """All that logs in, once; their messages."""
    return [
        run_module("program_check_info", webui=dict(**access, timeout=3)).get("msg", ""),
        run_module("webui_options", **access, options={"jpeg_quality": 80}).get("msg", ""),
        run_module("webui_txt2img", **access, dest=str(tmp_path / "x.png"), prompt="a hill").get("msg", ""),
        idle(access, tmp_path),
    ]


def idle(access, tmp_path) -> str:
    config = {**access, "minutes": 10, "interval": 0.2, "command": "true", "dry_run": True, "proc": str(tmp_path)}
    (tmp_path / "idle.json").write_text(json.dumps(config))
    script = ROOT / "roles/webui_service/files/idle_shutdown.py"
    command = [sys.executable, str(script), str(tmp_path / "idle.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(3)
    process.kill()
    return process.communicate()[0]


@pytest.mark.parametrize("family", ["4", "6"])
def test_another_owner_of_the_port_gets_no_password(program, serve, access, run_module, tmp_path, family):
    record = serve(family)
    program("sleep 1000")
    reported = every_module(run_module, access, tmp_path)
    assert "Authorization" not in record.read_text()
    assert all("pid" in text and Path(sys.executable).name in text for text in reported), reported
    assert "The credentials were not sent" in reported[1] and "The credentials were not sent" in reported[2]


def test_a_program_that_is_down_or_unknown_gets_none(program, serve, access, run_module, tmp_path, supervisor):
    record = serve()
    program("sleep 1000")
    run_module("supervisor_program", name="webui", supervisor_dir=str(supervisor), state="stopped")
    every_module(run_module, access, tmp_path)
    access["program"] = "no-such"
    every_module(run_module, access, tmp_path)
    access["supervisor_dir"] = str(tmp_path / "nowhere")
    reported = every_module(run_module, access, tmp_path)
    assert "supervisord does not answer" in reported[1] and "supervisord does not answer" in reported[3]
    assert "Authorization" not in record.read_text()


def test_the_program_gets_it(program, access, run_module, tmp_path, port):
    record = program()
    wait_for(lambda: listening(port))
    reported = every_module(run_module, access, tmp_path)
    text = record.read_text()
    for path in ("/sdapi/v1/options", "/sdapi/v1/txt2img", "/sdapi/v1/progress"):
        assert path in text
    assert "Authorization: Basic c2RvcHM6c2VjcmV0" in text and "not sent" not in "".join(reported)


def test_a_child_of_the_program_gets_it(program, access, run_module, port):
    record = program("sh -c '{python} {script} {port} {record} 4; true'")
    wait_for(lambda: listening(port))
    assert not run_module("webui_options", **access, options={"jpeg_quality": 80})["failed"]
    assert "Authorization" in record.read_text()


def test_two_on_one_port_are_distinguished_by_the_connection(program, serve, access, run_module, port):
    """SO_REUSEPORT: the kernel gives each connection to one of them."""
    good = program()
    wait_for(lambda: listening(port))
    record = serve()
    wait_for(lambda: listening(port, 2))
    failed = 0
    for _ in range(60):
        failed += run_module("webui_options", **access, options={"jpeg_quality": 80})["failed"]
        if failed and "Authorization" in good.read_text():
            break
    assert failed and "Authorization" in good.read_text()
    assert "Authorization" not in record.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="starting a process of another user needs root")
def test_without_a_program_another_user_gets_no_password(serve, access, run_module, tmp_path):
    record = serve("4", "65534")
    reported = every_module(run_module, access, tmp_path)
    assert "Authorization" not in record.read_text()
    assert "pid" in reported[1] and "a process of root or of the user who owns" in reported[1]


def test_without_a_program_the_same_user_gets_it(serve, access, run_module):
    record = serve()
    assert not run_module("webui_options", **access, options={"jpeg_quality": 80})["failed"]
    assert "Authorization" in record.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="starting a process of another user needs root")
def test_a_process_that_hides_its_owner_is_not_roots():
    """PR_SET_DUMPABLE makes /proc/PID root's; its ids are still its own."""
    code = (
        "import os, ctypes, time; os.setuid(65534); ctypes.CDLL(None).prctl(4, 0); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        assert not procfs.runs_only_as(process.pid, {0})
        assert procfs.runs_only_as(process.pid, {65534})
    finally:
        process.kill()
        process.wait()


def test_a_number_that_another_process_has_now_is_not_the_program():
    me, parent = os.getpid(), os.getppid()
    assert procfs.belongs_to_program(me, lambda: (me, parent))
    assert not procfs.belongs_to_program(me, lambda: (me, 1 << 22))  # no child of this supervisord
    assert not procfs.belongs_to_program(parent, lambda: (me, parent))
    answers = iter([(me, parent), (me + 1, parent)])
    assert not procfs.belongs_to_program(me, lambda: next(answers))  # restarted meanwhile


def test_another_hosts_webui_is_not_logged_in_to(access, tmp_path, run_module):
    """A connection whose other end is not in this host's tables."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as client:
            assert procfs.peer_inode(client) is not None
            reported = procfs.describe_untrusted_peer(client, lambda pid: True, 1, proc=str(tmp_path))
            assert reported == "is not on this host, or has closed the connection"
            assert "has not accepted" in str(procfs.describe_untrusted_peer(client, lambda pid: True, 0.1))
