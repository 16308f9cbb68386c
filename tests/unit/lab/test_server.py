"""The server itself: virtual hosts, TLS, faults, the access log, the programs that use it."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import requests
from helpers.paths import ROOT

from lab.servers import hosts
from lab.servers.faults import Fault
from lab.servers.server import LabServer, Listener

from .conftest import REPOSITORY, Built, clean_environment

BIG = "/lab-fakes/tiny-sd15/resolve/main/v1-5-pruned-emaonly.safetensors"


def storage(lab_server: LabServer, http: requests.Session) -> str:
    return http.head(lab_server.url(hosts.HUB) + BIG, allow_redirects=False).headers["Location"]


def on_host(lab_server: LabServer, http: requests.Session, built: Built, host: str, path: str) -> requests.Response:
    """A request to the first (TLS) listener, by Host header."""
    return http.get(
        f"{lab_server.listeners[0].origin}{path}", headers={"Host": host}, verify=str(built.ca), allow_redirects=False
    )


# --- virtual hosts and TLS


def test_host_header_chooses(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    assert "fake" in on_host(lab_server, http, built, "www.lab.test", "/").text
    assert "fake" in on_host(lab_server, http, built, "git.lab.test", "/robots.txt").text
    assert on_host(lab_server, http, built, "unknown.lab.test", "/").status_code == 421
    answer = on_host(lab_server, http, built, "huggingface.lab.test", BIG)
    # a client that uses lab names is sent on to a lab name
    assert answer.headers["Location"].startswith("https://cdn.huggingface.lab.test/xet-bridge-us/")


def test_tls_13_with_the_lab_certificate(lab_server: LabServer, built: Built) -> None:
    import ssl

    context = ssl.create_default_context(cafile=str(built.ca))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name in (*hosts.ALL, "localhost"):
        raw = socket.create_connection(("127.0.0.1", lab_server.listeners[0].port), 5)
        with raw, context.wrap_socket(raw, server_hostname=name) as tls:
            assert (tls.version(), tls.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


def test_silent_connections_hold_up_nobody(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    silent = [socket.create_connection(("127.0.0.1", lab_server.listeners[0].port)) for _ in range(20)]
    assert on_host(lab_server, http, built, "www.lab.test", "/").status_code == 200
    for connection in silent:
        connection.close()


def test_connections_are_preserved(lab_server: LabServer, built: Built) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", lab_server.listeners[-1].port)
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/nothing")
        connection.getresponse().read()
        sockets.add(id(connection.sock))
    connection.close()
    assert len(sockets) == 1 and None not in sockets


def test_private_keys_are_private(built: Built) -> None:
    for name in ("ca.key", "server.key"):
        assert (built.work / "ca" / name).stat().st_mode & 0o777 == 0o600


def test_paths_stay_inside(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    for path in ("/%2e%2e/huggingface/index.json", "/..%2fhuggingface/index.json", "//etc/passwd", "/XTLS"):
        assert on_host(lab_server, http, built, "releases.lab.test", path).status_code == 404


# --- the access log


def test_log_names_the_traffic_and_no_secret(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    url = lab_server.url(hosts.CIVITAI) + "/api/download/models/70002?token=lab_civitai_member&type=Model"
    answer = http.get(url, headers={"Authorization": "Bearer lab_civitai_buyer"})
    assert answer.status_code == 200
    lab_server.log.wait_until_written()
    lines = [json.loads(line) for line in (built.work / "access.log").read_text().splitlines()]
    requested, fetched = [line for line in lines if "civitai" in line["host"]][-2:]
    assert (requested["host"], requested["status"], requested["authorization"]) == (hosts.CIVITAI, 307, True)
    assert requested["query"] == "token=...&type=Model"
    assert (fetched["host"], fetched["status"], fetched["authorization"]) == (hosts.CIVITAI_STORAGE, 200, False)
    assert fetched["bytes"] == len(answer.content)
    assert fetched["client"] == "127.0.0.1"
    text = (built.work / "access.log").read_text()
    assert "lab_civitai" not in text and "Signature=..." in text


# --- faults


def test_cut(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=100_000, times=1))
    url = storage(lab_server, http)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        http.get(url)
    assert lab_server.log.entries[-1]["bytes"] == 100_000 and lab_server.log.entries[-1]["interrupted"]
    assert http.get(url).status_code == 200  # once means once


def test_stall(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("stall", host=hosts.HUB_STORAGE, after=1000, seconds=1.0))
    url = storage(lab_server, http)
    with pytest.raises(requests.exceptions.ConnectionError):
        http.get(url, timeout=0.3)
    started = time.monotonic()
    assert len(http.get(url, headers={"Range": "bytes=0-4999"}).content) == 5000
    assert time.monotonic() - started >= 1.0


def test_stall_ends_when_nobody_waits(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("stall", host=hosts.HUB_STORAGE, after=1000, seconds=60))
    with pytest.raises(requests.exceptions.ConnectionError):
        http.get(storage(lab_server, http), timeout=0.2)
    http.close()
    started = time.monotonic()
    lab_server.log.wait_until_written(10)
    assert time.monotonic() - started < 5
    assert lab_server.log.entries[-1]["interrupted"]


def test_status_and_skip(lab_server: LabServer, http: requests.Session) -> None:
    fault = Fault(
        "status", path="*/tiny-sd15", status=429, body="slow down", headers={"Retry-After": "7"}, skip=1, times=1
    )
    lab_server.faults.add(fault)
    url = lab_server.url(hosts.HUB) + "/api/models/lab-fakes/tiny-sd15"
    codes = [http.get(url) for _ in range(3)]
    assert [answer.status_code for answer in codes] == [200, 429, 200]
    assert (codes[1].headers["Retry-After"], codes[1].text) == ("7", "slow down")


def test_ignore_range(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("ignore_range", host=hosts.HUB_STORAGE, ranged=True))
    answer = http.get(storage(lab_server, http), headers={"Range": "bytes=5-9"}, stream=True)
    assert (answer.status_code, "Content-Range" in answer.headers) == (200, False)
    answer.close()


def test_wrong_bytes_lie_at_their_place_in_the_file(lab_server: LabServer, http: requests.Session) -> None:
    url = storage(lab_server, http)
    right = http.get(url, headers={"Range": "bytes=1000-1099"}).content
    lab_server.faults.add(Fault("wrong_bytes", host=hosts.HUB_STORAGE, after=1010, count=3))
    wrong = http.get(url, headers={"Range": "bytes=1000-1099"}).content
    assert [place for place in range(100) if right[place] != wrong[place]] == [10, 11, 12]


def test_headers_and_slowness(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("headers", host=hosts.HUB_STORAGE, headers={"Content-Length": None, "ETag": '"other"'}))
    lab_server.faults.add(Fault("slow", host=hosts.HUB_STORAGE, rate=100_000))
    started = time.monotonic()
    answer = http.get(storage(lab_server, http), headers={"Range": "bytes=0-49999"})
    assert 0.3 < time.monotonic() - started < 5
    assert "Content-Length" not in answer.headers and len(answer.content) == 50_000
    assert answer.headers["ETag"] == '"other"'


def test_delay(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("delay", host=hosts.HUB, seconds=0.5))
    with pytest.raises(requests.exceptions.ReadTimeout):
        http.get(lab_server.url(hosts.HUB) + "/api/models/lab-fakes/tiny-sd15", timeout=0.2)


def test_short_is_consistent(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("short", host=hosts.HUB_STORAGE, after=1000))
    answer = http.get(storage(lab_server, http))
    assert (answer.status_code, answer.headers["Content-Length"], len(answer.content)) == (200, "1000", 1000)


def test_until_close_hides_an_interruption(lab_server: LabServer, http: requests.Session) -> None:
    lab_server.faults.add(Fault("until_close", host=hosts.HUB_STORAGE))
    whole = http.get(storage(lab_server, http))
    assert {"Content-Length", "Transfer-Encoding"}.isdisjoint(whole.headers)
    lab_server.faults.add(Fault("disconnect", host=hosts.HUB_STORAGE, after=1000))
    assert http.get(storage(lab_server, http)).content == whole.content[:1000]


def test_faults_from_a_file_and_over_http(built: Built, http: requests.Session, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    with LabServer(built.root, [Listener(default_host=hosts.HUB, tls=False)], faults=file) as lab_server:
        url, control = (
            lab_server.url(hosts.HUB) + "/api/models/lab-fakes/tiny-sd15",
            lab_server.url(hosts.HUB) + "/.lab/faults",
        )
        assert http.get(url).status_code == 200
        file.write_text(json.dumps([{"kind": "status", "status": 500}]))
        assert http.get(url).status_code == 500
        file.unlink()
        assert http.get(url).status_code == 200
        assert http.put(control, json=[{"kind": "status", "status": 503, "times": 1}]).status_code == 200
        assert [http.get(url).status_code for _ in range(2)] == [503, 200]
        assert [fault["hits"] for fault in http.get(control).json()] == [1]
        assert http.post(control, json={"kind": "explode"}).status_code == 400
        assert (
            http.post(control, json={"kind": "disconnect", "afterwards": 1})
            .json()["error"]
            .startswith("unknown field 'afterwards'")
        )
        assert http.delete(control).json() == []


# --- git, archives, wheels, releases: the real programs


def git(lab_server: LabServer, built: Built, *arguments: str, cwd: Path) -> str:
    port = lab_server.listeners[0].port
    env = clean_environment(GIT_SSL_CAINFO=str(built.ca), GIT_CONFIG_GLOBAL="/dev/null", GIT_TERMINAL_PROMPT="0")
    command = ["git", "-c", f"http.curloptResolve=git.lab.test:{port}:127.0.0.1", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_git_clone_and_fetch_by_commit(lab_server: LabServer, built: Built, tmp_path: Path) -> None:
    url = f"https://git.lab.test:{lab_server.listeners[0].port}/{REPOSITORY}"
    git(lab_server, built, "clone", "--quiet", f"{url}.git", "full", cwd=tmp_path)
    assert (tmp_path / "full/README.md").read_text() == "two\n"
    assert (tmp_path / "full/run.sh").stat().st_mode & 0o111
    assert git(lab_server, built, "rev-parse", "HEAD", cwd=tmp_path / "full") == built.git["commits"][REPOSITORY]
    assert git(lab_server, built, "tag", cwd=tmp_path / "full").split() == ["v1.0", "v2.0"]
    # one commit by its id, which no branch points to, as roles do it; and without .git in the URL
    old = built.git["tags"][REPOSITORY]["v1.0"]
    git(lab_server, built, "init", "--quiet", "one", cwd=tmp_path)
    git(lab_server, built, "fetch", "--quiet", "--depth=1", url, old, cwd=tmp_path / "one")
    git(lab_server, built, "checkout", "--quiet", "FETCH_HEAD", cwd=tmp_path / "one")
    assert (tmp_path / "one/README.md").read_text() == "one\n"
    assert (tmp_path / "one/kept/file").exists()  # ignored by its .gitignore, but part of the tree
    assert not (tmp_path / "one/__pycache__").exists()
    git(lab_server, built, "clone", "--quiet", "--filter=blob:none", url, "partial", cwd=tmp_path)
    assert (tmp_path / "partial/README.md").exists()


def test_archive_zip(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    commit = built.git["commits"][REPOSITORY]
    answer = on_host(lab_server, http, built, "git.lab.test", f"/{REPOSITORY}/archive/{commit}.zip")
    with zipfile.ZipFile(BytesIO(answer.content)) as bundle:
        assert f"demo-{commit}/README.md" in bundle.namelist()
        assert {name.split("/")[0] for name in bundle.namelist()} == {f"demo-{commit}"}
    tagged = on_host(lab_server, http, built, "git.lab.test", f"/{REPOSITORY}/archive/refs/tags/v1.0.zip")
    assert tagged.headers["Content-Disposition"] == "attachment; filename=demo-1.0.zip"
    for missing in (
        f"/{REPOSITORY}/archive/{'0' * 40}.zip",
        "/lab-fakes/none/archive/main.zip",
        f"/{REPOSITORY}/archive/--x.zip",
    ):
        assert on_host(lab_server, http, built, "git.lab.test", missing).status_code == 404


def test_pip_installs_from_the_wheel_index(lab_server: LabServer, built: Built, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--cert", str(built.ca)]
    env = clean_environment(PIP_CONFIG_FILE="/dev/null")
    index = lab_server.url(hosts.WHEELS) + "/simple/"
    options = ["install", "--no-cache-dir", "--index-url", index, "--target", str(tmp_path / "site")]
    done = subprocess.run([*pip, *options, "torchvision"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/torch/__init__.py").exists()  # by Requires-Dist
    assert (tmp_path / "site/torchvision-0.16.2+cu121.dist-info/RECORD").exists()
    done = subprocess.run([*pip, *options, "nothing-here"], env=env, capture_output=True, text=True)
    assert done.returncode and "No matching distribution" in done.stderr


def test_wheel_index_pages(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    page = http.get(lab_server.url(hosts.WHEELS) + "/simple/Torch/", verify=str(built.ca)).text
    sha256 = built.wheels["torch-2.1.2+cu121-py3-none-any.whl"]["sha256"]
    assert f'href="/packages/torch-2.1.2%2Bcu121-py3-none-any.whl#sha256={sha256}"' in page
    assert http.get(lab_server.url(hosts.WHEELS) + "/simple/numpy/", verify=str(built.ca)).status_code == 404


def test_pytorchs_indexes_carry_a_few_others(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    def page(path: str) -> requests.Response:
        return http.get(lab_server.url(hosts.WHEELS) + path, verify=str(built.ca))

    assert "torch-2.1.2%2Bcu121-py3-none-any.whl" in page("/whl/cu121/torch/").text
    [link] = re.findall(r'href="([^"#]+)', page("/whl/cu121/numpy/").text)
    assert link.endswith("numpy-1.24.1-py3-none-any.whl")
    assert page(link).content[:2] == b"PK"
    for missing in ("/whl/cpu/torch/", "/whl/cpu/numpy/", "/whl/cu121/pillow/"):
        assert page(missing).status_code == 404


def test_release_and_its_digest(lab_server: LabServer, http: requests.Session, built: Built) -> None:
    base = lab_server.url(hosts.RELEASES) + "/XTLS/Xray-core/releases/download/v26.10.10/Xray-linux-64.zip"
    data = http.get(base, verify=str(built.ca)).content
    digest = http.get(base + ".dgst", verify=str(built.ca)).text.splitlines()
    assert [line.split("= ")[0] for line in digest] == ["MD5", "SHA1", "SHA2-256", "SHA2-512"]
    assert digest[2] == f"SHA2-256= {hashlib.sha256(data).hexdigest()}"


# --- the command


def test_serve_command(built: Built, http: requests.Session, tmp_path: Path) -> None:
    config = {
        "root": str(built.root),
        "cert": str(built.work / "ca/server.pem"),
        "key": str(built.work / "ca/server.key"),
        "log": str(tmp_path / "log/access.log"),
        "listeners": [{"address": "127.0.0.1", "port": 0, "default_host": "releases.lab.test"}],
    }
    (tmp_path / "servers.json").write_text(json.dumps(config))
    # -I -S: no packages but the standard library, as in the lab's containers
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'x'; runpy.run_module('lab.servers', run_name='__main__')"
    command = [sys.executable, "-I", "-S", "-c", code, "serve", "--config", str(tmp_path / "servers.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        port = json.loads(process.stdout.readline())["listening"][0]["port"]
        health = http.get(f"https://127.0.0.1:{port}/.lab/health", verify=str(built.ca))
        assert health.json()["fake"] is True
    finally:
        process.terminate()
    assert process.wait(10) == 0
