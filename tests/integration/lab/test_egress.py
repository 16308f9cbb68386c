"""The blocked network and the routes out of it: what a target reaches directly, by the turbo proxy, by mirrors and by the gateway.

Runs before test_lab.py, whose last test takes the lab away.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.lab_command import NAME, LabCommand, eventually

from lab.servers import hosts

pytestmark = pytest.mark.lab

WEBUI = "AUTOMATIC1111/stable-diffusion-webui"
MODEL = "/lab-fakes/tiny-sd15/resolve/main/v1-5-pruned-emaonly.safetensors"
SIZE = 25160360
CODES = "curl -s -o /dev/null -w '%{http_code} %{http_connect} %{size_download} %{exitcode}\\n' --max-time 10"


class Answer(tuple[int, int, int, int]):
    """What curl tells: the answer's status, the proxy's, the bytes of the body, curl's own exit code."""

    status = property(lambda self: self[0])
    proxy = property(lambda self: self[1])
    size = property(lambda self: self[2])
    code = property(lambda self: self[3])


def query(lab: LabCommand, *requests: str, before: str = "true") -> list[Answer]:
    """Each request (curl's arguments) from target1, all in one shell; ``before`` runs in it first."""
    script = "; ".join([before, *(f"{CODES} {request}" for request in requests)])
    lines = lab.on("target1", script, check=False).stdout.splitlines()[-len(requests) :]
    assert len(lines) == len(requests), lines
    return [Answer(map(int, line.split())) for line in lines]


def address(lab: LabCommand, what: str) -> str:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return lab.docker("inspect", "-f", form, f"sdops-{NAME}-{what}").split()[0]


def faults(lab: LabCommand, *arguments: str, check: bool = True) -> Any:
    done = lab("fault", *arguments, check=check)
    return json.loads(done.stdout) if check else done


# --- the wall


def test_no_walled_site_is_reached_by_name(lab: LabCommand) -> None:
    answers = query(lab, *(f"https://{name}/" for name in (*hosts.BLOCKED, hosts.WWW)))
    assert [answer.code for answer in answers] == [6] * len(answers), "a name resolved"


def test_no_walled_site_is_reached_by_address(lab: LabCommand) -> None:
    connect = """
import socket, sys, threading
def knock(port):
    try:
        socket.create_connection((sys.argv[1], port), 3).close()
        print("open", port)
    except OSError as exc:
        print("closed", port, exc)
for port in (443, 80, 8443, 8444):
    threading.Thread(target=knock, args=(port,)).start()
"""
    upstream = address(lab, "upstream")
    output = lab("exec", "target1", "--", "python3", "-c", connect, upstream).stdout
    assert output.count("closed") == 4 and "refused" not in output, output
    # the servers are there: what stands between is the network
    assert lab.docker("exec", f"sdops-{NAME}-turbo", "python3", "-c", connect, upstream).count("open") == 4


def test_no_other_server_shows_a_walled_site(lab: LabCommand) -> None:
    """Nothing that a target can connect to answers for a name that is behind the wall."""
    requests = [
        f"--connect-to ::{door}:443 https://{name}/"
        for door in (hosts.CONDA, hosts.GIT_MIRROR, "gateway.lab.test")
        for name in (hosts.GIT, hosts.HUB, hosts.CIVITAI)
    ]
    assert {answer.status for answer in query(lab, *requests)} == {421}
    fronted = f"--connect-to ::gateway.lab.test:443 -H 'Host: {hosts.GIT}' https://{hosts.WWW}/"
    assert [answer.status for answer in query(lab, fronted)] == [421]


# --- the turbo proxy


def test_the_turbo_proxy_leads_to_github_and_the_hub_only(lab: LabCommand) -> None:
    file = lab.variables["sdops_turbo_file"]
    env_output = lab.on("target1", f". {file}; env").stdout
    proxy = lab.variables["sdops_lab_turbo"]
    for name in ("http_proxy", "https_proxy"):
        assert f"{name}={proxy}\n" in env_output
    assert "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt\n" in env_output and "SSL_CERT_FILE=/" in env_output
    assert "no_proxy=localhost,127.0.0.1,modelscope.com," in env_output and "设置成功" in env_output

    good = [f"https://{hosts.GIT}/", f"-L http://{hosts.GIT}/", f"-L https://{hosts.HUB}{MODEL}"]
    bad = [f"https://{name}/" for name in (hosts.CIVITAI, hosts.CONDA, hosts.CONDA_OFFICIAL, hosts.WHEELS, hosts.BIG)]
    *first, model = query(lab, *good, before=f". {file}")
    assert [answer.status for answer in first] == [200, 200] and (model.status, model.size) == (200, SIZE)
    assert {(answer.status, answer.proxy) for answer in query(lab, *bad, before=f". {file}")} == {(0, 403)}
    # nor does a name inside the tunnel, or the walled servers' address
    fronted = [f"--connect-to ::{hosts.GIT}:443 https://{hosts.CIVITAI}/", f"-k https://{address(lab, 'upstream')}/"]
    inside, bare = query(lab, *fronted, before=f". {file}")
    assert inside.status == 421 and bare.proxy == 403

    remote = lab.on("target1", f". {file} >/dev/null; git ls-remote https://git.lab.test/{WEBUI}.git HEAD").stdout
    assert remote.split()[0] == lab.variables["sdops_lab_commits"][WEBUI]


def test_the_turbo_proxys_log_has_no_secrets(lab: LabCommand) -> None:
    secret = f"-H 'Authorization: Bearer s3cret' -U user:s3cret 'http://{hosts.GIT}/x?token=s3cret'"
    assert [a.status for a in query(lab, secret, before=f". {lab.variables['sdops_turbo_file']}")] == [301]
    log = (lab.dir / "log" / "turbo.log").read_text()
    assert '"path": "/x"' in log and "s3cret" not in log


def test_the_turbo_proxy_can_be_missing_or_dead(lab: LabCommand) -> None:
    file = lab.variables["sdops_turbo_file"]
    lab("turbo", "off", "target1")
    assert lab.on("target1", f"test -e {file}", check=False).returncode == 1
    assert lab.on("target2", f"test -e {file}", check=False).returncode == 0, "the other target keeps its own"
    lab("turbo", "on")
    lab("turbo", "stop")
    try:
        request = f"https://{hosts.GIT}/"
        (dead,) = query(lab, request, before=f". {file}")
        assert dead.status == 0 and dead.code in (5, 7, 28), dead
    finally:
        lab("turbo", "start")
    assert eventually(lambda: query(lab, request, before=f". {file}")[0].status == 200, 5)


# --- mirrors


def test_mirrors_are_reached_directly(lab: LabCommand) -> None:
    values = lab.variables
    mirrors = values["sdops_lab_mirrors"]
    assert set(mirrors) == {"github", "huggingface"}
    bases = [*mirrors["github"], values["sdops_lab_github_prefix_mirror"]]
    for base in bases:
        remote = lab.on("target1", f"git ls-remote {base}/{WEBUI}.git HEAD").stdout.split()
        assert remote[0] == values["sdops_lab_commits"][WEBUI], base
    clip = values["sdops_lab_commits"]["openai/CLIP"]
    answers = query(
        lab, *(f"{base}/openai/CLIP/archive/{clip}.zip" for base in bases), mirrors["huggingface"][0] + MODEL
    )
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert answers[2].size == SIZE, "no redirect, the bytes themselves"
    assert {host_of(base) for base in [*bases, *mirrors["huggingface"]]} <= set(values["sdops_no_proxy"])


def host_of(url: str) -> str:
    return url.split("/")[2]


# --- what can go wrong


@pytest.fixture
def clear(lab: LabCommand) -> Iterator[None]:
    yield
    assert faults(lab, "clear") == []


@pytest.mark.usefixtures("clear")
def test_faults_by_command(lab: LabCommand) -> None:
    git, hub = (
        lab.variables["sdops_lab_mirrors"]["github"][0] + "/",
        lab.variables["sdops_lab_mirrors"]["huggingface"][0],
    )
    (added,) = faults(
        lab, "add", "--host", host_of(hub), "--path", "*.safetensors", "--kind", "slow", "--rate", "20000"
    )
    assert added["service"] == "domestic" and added["rate"] == 20000
    slow, other = query(lab, f"--max-time 2 {hub}{MODEL}", git)
    assert slow.code == 28 and 10000 < slow.size < 100000 and other.status == 200, (slow, other)

    faults(lab, "add", "--host", host_of(git), "--kind", "status", "--status", "502", "--times", "1")
    faults(lab, "add", "--host", host_of(git), "--kind", "drop", "--skip", "1", "--times", "1")
    broken, dropped, good = query(lab, git, git, git)
    assert broken.status == 502 and dropped.code in (52, 56) and good.status == 200, (broken, dropped, good)
    assert [(item["kind"], item["hits"]) for item in faults(lab, "list")] == [("slow", 1), ("status", 1), ("drop", 1)]

    (walled,) = faults(
        lab, "add", "--host", "git.lab.test", "--kind", "headers", "--header", "X-Lab: yes", "--header", "Date"
    )
    assert walled["service"] == "upstream" and walled["headers"] == {"X-Lab": "yes", "Date": None}
    assert {item["service"] for item in faults(lab, "add", "--kind", "delay", "--seconds", "0.1")} == {
        "upstream",
        "domestic",
    }
    assert "no service has a host nope" in faults(lab, "add", "--host", "nope", "--kind", "slow", check=False).stderr
    assert "--kind" in faults(lab, "add", check=False).stderr
    faults(lab, "clear")
    assert query(lab, git)[0].status == 200


def counted(lab: LabCommand) -> dict[str, int]:
    return json.loads(lab("gateway", "stats").stdout)


def test_the_gateway_counts_what_went_through_it(lab: LabCommand, client: str) -> None:
    before = counted(lab)
    assert set(before) == {"uplink", "downlink"}
    (through,) = query(lab, f"-L -x {client} https://{hosts.HUB}{MODEL}")
    assert through.size == SIZE
    assert eventually(lambda: counted(lab)["downlink"] - before["downlink"] > SIZE, 5)
    assert counted(lab)["uplink"] > before["uplink"]
    settled = counted(lab)
    query(lab, lab.variables["sdops_lab_mirrors"]["huggingface"][0] + MODEL)
    assert counted(lab)["downlink"] - settled["downlink"] < 10000, "what a mirror gives does not pass the gateway"
    lab("gateway", "stats", "--reset")
    assert counted(lab) == {"uplink": 0, "downlink": 0}


def test_the_gateways_conditions(lab: LabCommand, client: str) -> None:
    walled, official = (f"-x {client} https://{name}/" for name in (hosts.CIVITAI, hosts.CONDA_OFFICIAL))
    assert [answer.proxy for answer in query(lab, walled, official)] == [200, 200]
    for condition in ("wrong-key", "old-client"):
        lab("gateway", condition)
        rejected, unknown_client = query(
            lab, f"--max-time 4 {walled}", f"--connect-to ::gateway.lab.test:443 https://{hosts.WWW}/"
        )
        assert rejected.status == 0 and rejected.code, (condition, rejected)
        assert unknown_client.status == 200, "strangers see the web server as ever"
        assert counted(lab) == {"uplink": 0, "downlink": 0}, condition
    lab("gateway", "slow", "--rate", "30000")
    (slow,) = query(lab, f"-L --max-time 4 -x {client} https://{hosts.HUB}{MODEL}")
    assert slow.code == 28 and 1000 < slow.size < 250000, slow
    lab("gateway", "normal")
    started = time.monotonic()
    (fast,) = query(lab, f"-L -x {client} https://{hosts.HUB}{MODEL}")
    assert fast.size == SIZE and time.monotonic() - started < 6


# --- as processes


def test_as_processes_the_egress_routes_exist_too() -> None:
    """Nothing is blocked between processes of one machine, but each route leads where it should."""
    lab = LabCommand(f"{NAME}e", "processes")
    lab("down")
    try:
        lab("up", "--mode", "processes")
        values = lab.variables
        file = Path(values["sdops_turbo_file"])
        assert file.is_relative_to(lab.dir) and f"export http_proxy={values['sdops_lab_turbo']} " in file.read_text()
        routes = {
            f"-x {values['sdops_lab_turbo']} https://{hosts.GIT}/": "200 200",
            f"-x {values['sdops_lab_turbo']} https://{hosts.CIVITAI}/": "000 403",
            f"-x {values['sdops_lab_turbo']} --connect-to ::{hosts.GIT}:443 https://{hosts.CIVITAI}/": "421 200",
            values["sdops_lab_mirrors"]["github"][0] + "/": "200 000",
            values["sdops_lab_mirrors"]["huggingface"][0] + MODEL: "200 000",
            values["sdops_lab_github_prefix_mirror"] + "/": "200 000",
            values["sdops_lab_mirrors"]["github"][0] + "/?again": "503 000",
        }
        faults(lab, "add", "--host", hosts.GIT_MIRROR, "--kind", "status", "--skip", "1")
        for request, expected in routes.items():
            trusted = ["--cacert", values["sdops_ca_bundle"], "--noproxy", "" if request.startswith("-x") else "*"]
            argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}", *trusted, *request.split()]
            assert subprocess.run(argv, capture_output=True, text=True).stdout == expected, request
        lab("turbo", "off")
        assert not file.exists()
        lab("turbo", "stop")
        assert re.search(r"turbo\tpid \d+ is gone", lab("status").stdout)
        lab("turbo", "start")
        lab("turbo", "on")
        assert file.exists() and re.search(r"turbo\tpid \d+ runs", lab("status").stdout)
        assert counted(lab) == {"uplink": 0, "downlink": 0}
        door = values["xray_proxy_port"]
        config = lab.dir / "gateway-config.json"
        lab("gateway", "wrong-key")
        assert values["xray_proxy_short_id"] not in config.read_text()
        lab("gateway", "slow")
        assert json.loads(config.read_text())["inbounds"][0]["port"] != door
        lab("gateway", "normal")
        assert values["xray_proxy_short_id"] in config.read_text()
        assert json.loads(config.read_text())["inbounds"][0]["port"] == door
    finally:
        lab("down")
