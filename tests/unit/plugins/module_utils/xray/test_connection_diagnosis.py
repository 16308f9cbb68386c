"""What goes wrong between a real client and a real server, and the one sentence that each gets."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid

import pytest

from lab.ports import free_port
from lab.servers import gateway, hosts
from lab.servers.build import Builder, ca
from lab.xray.launcher import key_pair

CORE = "import sys, xray; xray.startFromJSON(sys.stdin.read())"
# case: what is wrong, and a word of its sentence that no other sentence has
CASES = {
    "normal": ({}, ""),
    "key": (
        {"public_key": key_pair()[1]},
        "Check xray_proxy_public_key, xray_proxy_short_id and xray_proxy_server_name",
    ),
    "short id": ({"short_id": "00" * 8}, "Check xray_proxy_public_key, xray_proxy_short_id and xray_proxy_server_name"),
    "user": ({"uuid": str(uuid.uuid4())}, "hangs up on this user"),
    "site": ({}, "does not reach this one"),
    "old": ({}, "is older than"),
    "clock": ({}, "The clock of this host"),
}
MARKS = {mark for _, mark in CASES.values() if mark}


def core(config: dict, log) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", CORE], stdin=subprocess.PIPE, stdout=log.open("wb"), stderr=subprocess.STDOUT
    )
    assert process.stdin
    process.stdin.write(json.dumps(config).encode())
    process.stdin.close()
    return process


@pytest.fixture(scope="module")
def proxy_routes(tmp_path_factory):
    """(proxy, its options in program_check_info) for each case: clients of their own of one server."""
    work = tmp_path_factory.mktemp("standing")
    builder = Builder(work)
    ca.build(builder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(work / "ca" / "server.pem", work / "ca" / "server.key")

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    site.socket = context.wrap_socket(site.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=site.serve_forever, daemon=True).start()

    made, door, dest = gateway.load_keys(work / "keys.json"), free_port(), f"127.0.0.1:{site.server_port}"
    server = gateway.server_config(made, f"127.0.0.1:{door}", dest)
    # the server's DNS: it knows its own site, and nothing else
    server["outbounds"].insert(0, {"tag": "site", "protocol": "freedom", "settings": {"redirect": dest, "finalRules": [{"action": "allow"}]}})  # fmt: skip
    server["routing"] = {
        "rules": [
            {"type": "field", "domain": [f"full:{hosts.WWW}", f"full:{hosts.GIT}"], "outboundTag": "site"},
            {"type": "field", "domain": ["domain:invalid"], "outboundTag": "out"},
        ]
    }
    running = [core(server, work / "server.log")]
    found = {}
    for case, (wrong, _) in CASES.items():
        client, port, log = (
            {**gateway.client_settings(made, f"127.0.0.1:{door}"), **wrong},
            free_port(),
            work / f"{case}.log",
        )
        if case in ("old", "clock"):
            client["public_key"] = key_pair()[1]
        running.append(core(gateway.client_config(client, port), log))
        found[case] = {
            "url": f"http://127.0.0.1:{port}",
            "request_urls": [f"https://{'nowhere.invalid' if case == 'site' else hosts.GIT}/"],
            "server": "127.0.0.1",
            "port": door,
            "server_name": hosts.WWW,
            "log_file": str(log),
            "ca_path": str(work / "ca" / "ca.pem"),
            "version": "25.9.11" if case == "old" else "26.10.10",
            "controller_time": time.time() + (900 if case == "clock" else 0),
            "timeout": 20,
        }
    for port in [door, *(int(route["url"].rpartition(":")[2]) for route in found.values())]:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    time.sleep(7)  # a server of REALITY looks at its site first
    yield found
    for process in running:
        process.terminate()
        process.wait(10)
    site.shutdown()


def test_a_good_client_gets_through(proxy_routes, run_module):
    found = run_module("program_check_info", proxy=dict(proxy_routes["normal"], retries=3))
    assert not found["failed"], found


@pytest.mark.parametrize("case", [case for case in CASES if case != "normal"])
def test_each_fault_has_its_own_sentence(proxy_routes, run_module, case):
    output = run_module("program_check_info", proxy=dict(proxy_routes[case], retries=0))["msg"]
    assert [mark for mark in MARKS if mark in output] == [CASES[case][1]], output


def test_a_wrong_clock_may_still_be_a_wrong_key(proxy_routes, run_module):
    assert (
        "xray_proxy_public_key" in run_module("program_check_info", proxy=dict(proxy_routes["clock"], retries=0))["msg"]
    )
