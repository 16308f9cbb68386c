"""The routes out of the blocked network: the turbo proxy, domestic mirrors, doors with few hosts, the gateway's faults."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from helpers.paths import ROOT

from lab.ports import free_port
from lab.servers import gateway, hosts
from lab.servers.faults import Fault
from lab.servers.server import LabServer, Listener
from lab.servers.turbo import TurboProxy

from .conftest import REPOSITORY, Built, clean_environment, wait_for_port

SD = "lab-fakes/tiny-sd15"
BIG = "v1-5-pruned-emaonly.safetensors"


# --- doors


@pytest.fixture(scope="module")
def doors(built: Built) -> Iterator[LabServer]:
    """A lab server behind two doors: TLS for what is accelerated, and plain HTTP that only says where the site is."""
    listeners = [Listener(hosts=list(hosts.TURBO_HOSTS)), Listener(tls=False, to_https=True)]
    folder = built.work / "ca"
    with LabServer(built.root, listeners, folder / "server.pem", folder / "server.key") as lab_server:
        yield lab_server


def test_a_door_shows_its_hosts_only(doors: LabServer, built: Built) -> None:
    port = doors.listeners[0].port
    for name, status in ((hosts.GIT, 200), (hosts.CIVITAI, 421), (hosts.GIT_MIRROR, 421)):
        url, header = f"https://127.0.0.1:{port}/", {"Host": name}
        assert requests.get(url, headers=header, verify=str(built.ca)).status_code == status, name


def test_plain_http_only_sends_to_https(doors: LabServer) -> None:
    answer = requests.get(
        f"http://127.0.0.1:{doors.listeners[1].port}/a%20b?c=d", headers={"Host": hosts.GIT}, allow_redirects=False
    )
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{hosts.GIT}/a%20b?c=d")


def test_a_dropped_connection_has_no_answer(doors: LabServer, built: Built) -> None:
    doors.faults.add(Fault("drop", host=hosts.GIT, times=1))
    url, header = f"https://127.0.0.1:{doors.listeners[0].port}/", {"Host": hosts.GIT}
    with pytest.raises(requests.ConnectionError):
        requests.get(url, headers=header, verify=str(built.ca))
    assert requests.get(url, headers=header, verify=str(built.ca)).status_code == 200


# --- the turbo proxy


@pytest.fixture
def proxy(doors: LabServer, tmp_path: Path) -> Iterator[TurboProxy]:
    secure, plain = (f"127.0.0.1:{listener.port}" for listener in doors.listeners)
    with TurboProxy("127.0.0.1", 0, {443: secure, 80: plain}, tmp_path / "turbo.log") as turbo:
        yield turbo


def through(proxy: TurboProxy, built: Built) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": proxy.url, "https": proxy.url}
    session.verify = str(built.ca)
    session.headers["Connection"] = "close"  # a tunnel is in the log when it has ended
    return session


def test_the_turbo_proxy_leads_to_its_hosts(proxy: TurboProxy, built: Built) -> None:
    with through(proxy, built) as session:
        assert session.get(f"https://{hosts.GIT}/").status_code == 200
        redirected = session.get(f"http://{hosts.GIT}/x?y=z", allow_redirects=False)
        assert redirected.headers["Location"] == f"https://{hosts.GIT}/x?y=z"
        file = session.get(f"https://{hosts.HUB}/{SD}/resolve/main/{BIG}")
    assert hashlib.sha256(file.content).hexdigest() == built.hub[SD]["files"][BIG]["sha256"]
    proxy.log.wait_until_written()
    requested = {(entry["host"], entry["port"]) for entry in proxy.log.entries}
    assert {(hosts.GIT, 443), (hosts.GIT, 80), (hosts.HUB, 443), (hosts.HUB_STORAGE, 443)} <= requested
    assert sum(entry["received"] for entry in proxy.log.entries) > len(file.content)


def answer_to(proxy: TurboProxy, request: str) -> str:
    """The status line for a request as it stands."""
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return connection.makefile("rb").readline().decode().strip()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (f"CONNECT {hosts.CIVITAI}:443 HTTP/1.1", 403),
        (f"CONNECT {hosts.CONDA}:443 HTTP/1.1", 403),
        (f"CONNECT {hosts.HUB_MIRROR}:443 HTTP/1.1", 403),
        ("CONNECT 127.0.0.1:443 HTTP/1.1", 403),
        (f"CONNECT {hosts.GIT}:22 HTTP/1.1", 403),
        (f"CONNECT {hosts.GIT}.:443 HTTP/1.1", 200),
        (f"CONNECT {hosts.GIT.upper()}:443 HTTP/1.1", 200),
        (f"GET http://{hosts.CIVITAI}/ HTTP/1.1\nHost: {hosts.GIT}", 403),
        (f"GET http://{hosts.GIT}@{hosts.CIVITAI}/ HTTP/1.1", 403),
        (f"GET http://{hosts.CIVITAI}#@{hosts.GIT}/ HTTP/1.1", 403),
        (f"GET https://{hosts.GIT}/ HTTP/1.1", 400),
        ("GET / HTTP/1.1", 400),
        ("CONNECT git.lab.test:port HTTP/1.1", 400),
    ],
)
def test_the_turbo_proxy_turns_all_others_away(proxy: TurboProxy, request_line: str, status: int) -> None:
    assert answer_to(proxy, request_line).split()[1] == str(status)


def test_no_name_in_a_tunnel_leads_further(proxy: TurboProxy, built: Built) -> None:
    """The tunnel's end shows only what is accelerated, whatever the request inside says."""
    with through(proxy, built) as session:
        assert session.get(f"https://{hosts.GIT}/", headers={"Host": hosts.CIVITAI}).status_code == 421


def test_the_turbo_proxys_log_has_no_secrets(proxy: TurboProxy, built: Built, tmp_path: Path) -> None:
    with through(proxy, built) as session:
        headers = {"Authorization": "Bearer s3cret", "Proxy-Authorization": "Basic s3cret", "Cookie": "s3cret"}
        for scheme in ("https", "http"):
            session.get(f"{scheme}://{hosts.GIT}/?token=s3cret", headers=headers, allow_redirects=False)
    proxy.log.wait_until_written()
    text = (tmp_path / "turbo.log").read_text()
    assert len(text.splitlines()) == 2 and "s3cret" not in text


def test_the_turbo_proxy_reports_a_lost_upstream(built: Built) -> None:
    with TurboProxy("127.0.0.1", 0, {443: f"127.0.0.1:{free_port()}"}) as proxy:
        assert answer_to(proxy, f"CONNECT {hosts.GIT}:443 HTTP/1.1").split()[1] == "502"


# --- mirrors


def test_the_hubs_mirror_serves_the_bytes_itself(lab_server: LabServer, built: Built) -> None:
    base = f"{lab_server.url(hosts.HUB_MIRROR_CN)}/{SD}"
    known = built.hub[SD]["files"][BIG]
    # a token that a client keeps on the same origin does no harm
    options = {
        "verify": str(built.ca),
        "headers": {"Authorization": "Bearer hf_lab_granted", "Accept-Encoding": "identity"},
    }
    head = requests.head(f"{base}/resolve/main/{BIG}", **options)
    assert head.status_code == 200, "no redirect leads away"
    assert head.headers["X-Repo-Commit"] == built.hub[SD]["commit"]
    assert head.headers["X-Linked-Etag"] == f'"{known["sha256"]}"'
    assert int(head.headers["Content-Length"]) == int(head.headers["X-Linked-Size"]) == known["size"]
    whole = requests.get(f"{base}/resolve/main/{BIG}", **options)
    assert hashlib.sha256(whole.content).hexdigest() == known["sha256"]
    options["headers"]["Range"] = "bytes=10-19"
    part = requests.get(f"{base}/resolve/main/{BIG}", **options)
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    del options["headers"]["Range"]
    small = requests.get(f"{base}/resolve/main/vae/config.json", **options)
    assert small.status_code == 200 and small.url.startswith(lab_server.url(hosts.HUB_MIRROR_CN))
    assert requests.get(f"{base}/resolve/main/none", **options).headers["X-Error-Code"] == "EntryNotFound"
    assert {entry["host"] for entry in lab_server.log.entries} == {hosts.HUB_MIRROR_CN}


@pytest.mark.parametrize(
    ("mirror", "path"),
    [
        (hosts.GIT_MIRROR, f"/{REPOSITORY}.git"),
        (hosts.GIT_PREFIX, f"/https://{hosts.GIT}/{REPOSITORY}.git"),
        (hosts.GIT_PREFIX, f"/https:/{hosts.GIT}/{REPOSITORY}"),
        (hosts.GIT_PREFIX, f"/{hosts.GIT}/{REPOSITORY}"),
    ],
)
def test_git_mirrors_have_the_same_commits(
    lab_server: LabServer, built: Built, tmp_path: Path, mirror: str, path: str
) -> None:
    env = clean_environment(GIT_SSL_CAINFO=str(built.ca), GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", lab_server.url(mirror) + path, str(tmp_path / "clone")],
        env=env,
        check=True,
    )
    head = subprocess.run(["git", "-C", str(tmp_path / "clone"), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert head.stdout.strip() == built.git["commits"][REPOSITORY]


def test_a_prefix_mirror_leads_to_its_original_only(lab_server: LabServer, built: Built) -> None:
    for other in (hosts.CIVITAI, "example.com", f"{hosts.GIT}.example.com", f"{hosts.GIT}@{hosts.CIVITAI}"):
        answer = requests.get(f"{lab_server.url(hosts.GIT_PREFIX)}/https://{other}/", verify=str(built.ca))
        assert answer.status_code == 403, other


# --- the gateway's faults


def write(work: Path, condition: str | None = None, rate: int = gateway.RATE) -> tuple[dict, dict]:
    """(the client's side, Xray's config) of a gateway in ``work``."""
    written = gateway.write_config(
        work, "127.0.0.1:4000", "127.0.0.1:4001", None, None, condition=condition, rate=rate, api="127.0.0.1:4002"
    )
    return written["client"], json.loads(Path(written["config"]).read_text())


def reality(config: dict) -> dict:
    return config["inbounds"][0]["streamSettings"]["realitySettings"]


def test_conditions_of_the_gateway(tmp_path: Path) -> None:
    client, normal = write(tmp_path)
    assert reality(normal)["shortIds"] == [client["short_id"]] and "minClientVer" not in reality(normal)

    reported, wrong = write(tmp_path, "wrong-key")
    assert reported == client, "the client goes on with what it was told"
    assert reality(wrong)["shortIds"] != reality(normal)["shortIds"]
    assert reality(wrong)["privateKey"] != reality(normal)["privateKey"]
    assert reality(write(tmp_path)[1])["shortIds"] != reality(normal)["shortIds"], "it stays until it is taken back"

    assert int(reality(write(tmp_path, "old-client")[1])["minClientVer"].split(".")[0]) > 26
    slow = write(tmp_path, "slow", 5000)[1]
    assert slow["inbounds"][0]["port"] != 4000, "the relay has the door"
    assert json.loads((tmp_path / "gateway-run.json").read_text())["rate"] == 5000
    assert write(tmp_path, "normal")[1] == normal
    with pytest.raises(ValueError, match="normal, wrong-key"):
        write(tmp_path, "tired")


def test_a_slow_gateway_lets_its_rate_pass_and_ends_with_its_core(tmp_path: Path) -> None:
    core = tmp_path / "core"  # in Xray's place: sends 30000 bytes to whoever comes
    core.write_text(
        f"#!{sys.executable}\nimport json, socket, sys\n"
        "inbound = json.load(open(sys.argv[3]))['inbounds'][0]\n"
        "server = socket.create_server(('127.0.0.1', inbound['port']))\n"
        "while True:\n    c = server.accept()[0]\n    c.sendall(b'x' * 30000)\n    c.close()\n"
    )
    core.chmod(0o755)
    door = free_port()
    gateway.write_config(tmp_path, f"127.0.0.1:{door}", "127.0.0.1:1", None, None, condition="slow", rate=20000)
    argv = [sys.executable, "-m", "lab.servers", "gateway", "--work", str(tmp_path), "--program", str(core)]
    with subprocess.Popen(argv, cwd=ROOT) as process:
        try:
            wait_for_port(door, process)
            time.sleep(0.5)  # the core's own port
            started, got = time.monotonic(), []

            def take() -> None:
                with socket.create_connection(("127.0.0.1", door), 10) as connection:
                    got.append(len(connection.makefile("rb").read()))

            both = [threading.Thread(target=take) for _ in range(2)]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            seconds = time.monotonic() - started
            assert got == [30000, 30000] and 2.5 < seconds < 8, (got, seconds)  # they share it
        finally:
            process.terminate()
        process.wait(10)
    inner = json.loads((tmp_path / "gateway-run.json").read_text())["to"]
    with pytest.raises(OSError):
        socket.create_connection(gateway.parse_address(inner), 1)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["statsquery", "--server=127.0.0.1:1", "-t", "1"], 1), (["stats"], 2), (["statsquery", "--wrong"], 2)],
)
def test_counters_that_cannot_be_had(built: Built, arguments: list[str], status: int) -> None:
    done = subprocess.run([built.xray["program"], "api", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == status and done.stderr.strip() and not done.stdout.strip(), done
