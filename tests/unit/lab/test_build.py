"""What the builders make: the same every time, rebuilt only when it must be, and working when it is installed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from lab.ports import free_port
from lab.servers import gateway, hosts
from lab.servers.build import Builder, BuildError, conda, repositories, wheels
from lab.servers.server import LabServer, Listener
from lab.xray import launcher

from .conftest import MANIFEST, REPOSITORY, WHEELS, Built, clean_environment, wait_for_port

INSTALL = """
import asyncio, sys
from rattler import install, solve

async def main():
    records = await solve(sources=[sys.argv[1]], specs=["python"], platforms=["linux-64", "noarch"])
    await install(records, target_prefix=sys.argv[2], cache_dir=sys.argv[3], show_progress=False)

asyncio.run(main())
"""


# --- determinism and idempotence


def test_commits_and_wheels_are_the_same_everywhere(built: Built, fakes: Path, tmp_path: Path) -> None:
    repeated = Builder(tmp_path)
    assert repositories.build(repeated, MANIFEST, fakes) == built.git
    assert wheels.build(repeated, WHEELS, fakes) == built.wheels


def test_only_what_changed_is_built_again(fakes: Path, tmp_path: Path) -> None:
    own = tmp_path / "fakes"
    shutil.copytree(fakes, own)
    first = repositories.build(Builder(tmp_path / "work"), MANIFEST, own)
    head = tmp_path / "work/content/git" / f"{REPOSITORY}.git" / "HEAD"
    before = head.stat().st_ino
    assert repositories.build(Builder(tmp_path / "work"), MANIFEST, own) == first
    assert head.stat().st_ino == before
    (own / "demo-2" / "README.md").write_text("three\n")
    second = repositories.build(Builder(tmp_path / "work"), MANIFEST, own)
    assert second["tags"][REPOSITORY]["v1.0"] == first["tags"][REPOSITORY]["v1.0"]
    assert second["commits"] != first["commits"]
    shutil.rmtree(head.parent)
    assert repositories.build(Builder(tmp_path / "work"), MANIFEST, own) == second
    assert head.exists()


def test_a_missing_tree_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="demo-1 for lab-fakes/demo is missing"):
        repositories.build(Builder(tmp_path / "work"), MANIFEST, tmp_path)


# --- the Xray launcher


def xray(built: Built, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built.xray["program"], *arguments], capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_launcher_works_wherever_it_is_unpacked(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.xray["zip"]) as bundle:
        assert {"xray", "README.md", "LICENSE"} <= set(bundle.namelist())
        bundle.extractall(tmp_path / "some where")
    program = tmp_path / "some where" / "xray"
    program.chmod(0o755)
    (tmp_path / "current").symlink_to("some where")
    # not the package of the environment that the tests run in, but the core beside the launcher
    done = subprocess.run(
        [sys.executable, "-S", str(tmp_path / "current" / "xray"), "version"], capture_output=True, text=True, cwd="/"
    )
    assert re.match(r"Xray 26\.10\.10 \(lab fake", done.stdout), done.stderr
    assert "LAB FAKE" in program.read_text().splitlines()[1]


def test_config_test(built: Built, tmp_path: Path) -> None:
    with socket.socket() as busy:  # -test may not need the ports of the config
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        config = {
            "inbounds": [{"listen": "127.0.0.1", "port": busy.getsockname()[1], "protocol": "http"}],
            "outbounds": [],
        }
        config["outbounds"] = [{"protocol": "freedom"}]
        file = tmp_path / "config.json"
        file.write_text("// a comment\n" + json.dumps(config))
        good = xray(built, "run", "-test", "-c", str(file))
        assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "Configuration OK.")
    for bad in ({"outbounds": [{"protocol": "nonsense"}]}, {"inbounds": [{"protocol": "http"}]}):
        file.write_text(json.dumps({**config, **bad}))
        done = xray(built, "run", "-test", "-c", str(file))
        assert done.returncode == 23
        assert done.stdout.splitlines()[-1].startswith("Failed to start: ")
    file.write_text("{")
    assert xray(built, "run", "-test", "-c", str(file)).returncode == 23
    assert xray(built, "run", "-c", str(tmp_path / "nothing.json")).returncode == 23
    stdin = xray(built, "run", "-test", "-config=stdin:", input=json.dumps(config))
    assert stdin.returncode == 0


def test_run_ends_on_sigterm_and_passes_the_exit_code(built: Built, tmp_path: Path) -> None:
    port = free_port()
    config = {
        "inbounds": [{"listen": "127.0.0.1", "port": port, "protocol": "http"}],
        "outbounds": [{"protocol": "freedom"}],
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    process = subprocess.Popen([built.xray["program"], "run", "-c", str(file)], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
    finally:
        process.terminate()
    # 0 from the core; killed by the signal when that came before the core had its handler in place
    assert process.wait(10) in (0, -signal.SIGTERM)
    file.write_text(json.dumps({**config, "outbounds": [{"protocol": "nonsense"}]}))
    assert xray(built, "run", "-c", str(file), timeout=20).returncode == 23


def test_keys(built: Built) -> None:
    private, public = launcher.key_pair()

    def raw(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=")

    own = X25519PrivateKey.from_private_bytes(raw(private))
    assert own.public_key().public_bytes_raw() == raw(public)
    other = X25519PrivateKey.generate()
    shared = other.exchange(X25519PublicKey.from_public_bytes(raw(public)))
    assert launcher.x25519(raw(private), other.public_key().public_bytes_raw()) == shared
    output = xray(built, "x25519", "-i", private).stdout
    assert output == f"PrivateKey: {private}\nPassword (PublicKey): {public}\n"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", xray(built, "uuid").stdout)


# --- the gateway


def test_blocked_hosts_are_reached_through_the_gateway_only(
    built: Built, lab_server: LabServer, tmp_path: Path
) -> None:
    dest = f"127.0.0.1:{lab_server.listeners[0].port}"
    written = gateway.write_config(tmp_path, f"127.0.0.1:{free_port()}", dest, dest, None)
    assert (tmp_path / "gateway.json").stat().st_mode & 0o777 == 0o600
    assert Path(written["config"]).stat().st_mode & 0o777 == 0o600
    assert (
        gateway.write_config(tmp_path, f"127.0.0.1:{free_port()}", dest, dest, None)["client"]["uuid"]
        == written["client"]["uuid"]
    )
    written = gateway.write_config(tmp_path, f"127.0.0.1:{written['client']['port']}", dest, dest, None)
    unknown_client = {**written["client"], "public_key": launcher.key_pair()[1]}
    ports = {"good": free_port(), "wrong": free_port()}
    configs = {"good": written["client"], "wrong": unknown_client}
    running = []
    try:
        running.append(
            subprocess.Popen([built.xray["program"], "run", "-c", written["config"]], stdout=subprocess.DEVNULL)
        )
        wait_for_port(written["client"]["port"], running[-1])
        for name, port in ports.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(gateway.client_config(configs[name], port)))
            command = [built.xray["program"], "run", "-c", str(tmp_path / f"{name}.json")]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            wait_for_port(port, running[-1])
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(built.ca)
            for host in hosts.BLOCKED:
                with pytest.raises(requests.exceptions.ConnectionError):
                    session.get(f"https://{host}/robots.txt", timeout=5)  # the name resolves nowhere
            session.proxies = {"https": f"http://127.0.0.1:{ports['good']}"}
            answer = session.get("https://git.lab.test/robots.txt", timeout=30)
            assert (answer.status_code, "fake" in answer.text) == (200, True)
            model = "https://huggingface.lab.test/lab-fakes/tiny-sd15/resolve/main/v1-5-pruned-emaonly.safetensors"
            fetched = session.get(model, timeout=30)
            assert (
                len(fetched.content)
                == built.hub["lab-fakes/tiny-sd15"]["files"]["v1-5-pruned-emaonly.safetensors"]["size"]
            )
            proxy = f"http://127.0.0.1:{ports['wrong']}"
            session.proxies = {"http": proxy, "https": proxy}
            lab_server.log.entries.clear()
            assert session.get("http://git.lab.test/robots.txt", timeout=60).status_code == 503
            with pytest.raises(requests.exceptions.ConnectionError):
                session.get("https://git.lab.test/robots.txt", timeout=60)
            assert not lab_server.log.entries
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)
    log = (tmp_path / "log" / "gateway-access.log").read_text()
    assert "accepted tcp:git.lab.test:443" in log and "accepted tcp:cdn.huggingface.lab.test:443" in log


# --- the conda channel


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = Builder(tmp_path_factory.mktemp("conda"))
    made = conda.build(builder, conda.Interpreter.of_program(sys.executable))
    assert made["python"] == ".".join(map(str, sys.version_info[:3]))
    return builder.work


def test_conda_package_installs_over_https(channel: Path, built: Built, tmp_path: Path) -> None:
    folder = built.work / "ca"
    prefix = tmp_path / "env"
    with LabServer(
        channel / "content", [Listener(default_host=hosts.CONDA)], folder / "server.pem", folder / "server.key"
    ) as lab_server:
        source = lab_server.url(hosts.CONDA) + "/conda-forge"
        for _ in range(2):  # twice: the second time from the solver's cache
            # py-rattler may crash when its interpreter ends: the prefix is the judge
            subprocess.run(
                [sys.executable, "-c", INSTALL, source, str(prefix), str(tmp_path / "cache")],
                env=clean_environment(SSL_CERT_FILE=str(built.ca), HOME=str(tmp_path)),
                timeout=120,
            )
        requested = {entry["path"] for entry in lab_server.log.entries}
        assert any(path.endswith(".conda") for path in requested)
    python = prefix / "bin" / "python"
    code = "import ssl, sqlite3, ctypes, venv, json, sys; print(json.dumps([sys.prefix, sys.version_info[:3]]))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [str(prefix), list(sys.version_info[:3])]
    assert list((prefix / "conda-meta").glob("python-*-0_lab.json"))

    wheel = next((built.root / "wheels").glob("torch-*.whl"))
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--quiet", "--offline", "--no-cache", "--python", str(python), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    short = ".".join(map(str, sys.version_info[:2]))
    assert (prefix / "lib" / f"python{short}" / "site-packages" / "torch" / "__init__.py").exists()
    subprocess.run([python, "-c", "import torch"], check=True)
    # a virtual environment of it finds its way back
    subprocess.run([python, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", "import ssl, sys; print(sys.prefix)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == str(tmp_path / "venv")


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this machine has no Python of its own in /usr")
def test_a_root_filesystem_is_understood() -> None:
    output = subprocess.run(
        ["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True
    )
    found = conda.Interpreter.of_root(Path("/"))
    program = os.path.realpath("/usr/bin/python3")
    assert (found.version, found.program.resolve()) == (output.stdout.strip(), Path(program))


def test_an_empty_root_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"usr/bin/python3\.X"):
        conda.Interpreter.of_root(tmp_path)
