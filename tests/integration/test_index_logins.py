"""Logins in the URLs of package indexes and of GitHub: they open the door, and are seen nowhere.

Oracle: a server that wants them, uv and pip as they are, and everything that another user of the host could see: arguments of
processes, environments, output at -vvvv, files.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from helpers.ansible_site import ansible_environment
from helpers.paths import BIN

from . import test_secrets
from .test_secrets import Watcher

PASSWORDS = ("index-password-1", "extra-password-2", "github-password-3")


def wheel(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


class Index(ThreadingHTTPServer):
    """A package index at one address that answers nobody without its login."""

    def __init__(self, address: str, directory: Path, names: tuple[str, ...], password: str) -> None:
        self.login = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
        self.files, self.seen = {}, []
        for name in names:
            path = directory / f"{name}-1.0-py3-none-any.whl"
            wheel(path, name)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            page = f'<a href="/f/{path.name}#sha256={digest}">{path.name}</a>'.encode()
            self.files.update({f"/simple/{name.replace('_', '-')}/": page, f"/f/{path.name}": path.read_bytes()})
        super().__init__((address, 0), Handler)
        self.url = f"http://me:{password}@{address}:{self.server_port}/simple"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        good = self.headers.get("Authorization") == self.server.login
        self.server.seen.append((self.path, good))
        body = self.server.files.get(self.path) if good else b""
        self.send_response(401 if not good else 404 if body is None else 200)
        if not good:
            self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/zip")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def indexes(tmp_path, monkeypatch):
    monkeypatch.setattr(test_secrets, "SECRETS", PASSWORDS)
    # netrc knows hosts and no ports: two addresses of this machine
    found = [
        Index("127.0.0.2", tmp_path, ("sdops_one", "sdops_pip"), PASSWORDS[0]),
        Index("127.0.0.3", tmp_path, ("sdops_two",), PASSWORDS[1]),
    ]
    yield found
    for index in found:
        index.shutdown()


def test_logins_work_and_are_seen_nowhere(indexes, tmp_path, short_path):
    main, extra = indexes
    env = tmp_path / "env"
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": True,
            "tasks": [
                {"ansible.builtin.include_role": {"name": "sdops.webui.sdops", "public": True}},
                {"ansible.builtin.include_role": {"name": "sdops.webui.base", "tasks_from": "index_logins"}},
                {"ansible.builtin.command": {"argv": [str(BIN / "python"), "-m", "venv", str(env)]}},
                {
                    "sdops.webui.python_packages": {
                        "python": f"{env}/bin/python",
                        "packages": ["sdops-one", "sdops-two"],
                    },
                    "environment": "{{ sdops_package_environment }}",
                },
                {
                    "ansible.builtin.command": {"argv": [f"{env}/bin/python", "-m", "pip", "install", "sdops-pip"]},
                    "environment": "{{ sdops_package_environment }}",
                },
                {
                    "sdops.webui.python_packages": {
                        "python": f"{env}/bin/python",
                        "packages": [f"nothing-1 @ {main.url}/nothing-1.whl"],
                        "extra_index_urls": [extra.url],
                        "index_url": main.url,
                    },
                    "ignore_errors": True,
                },
                # again, with other routes: every role does this
                {"ansible.builtin.include_role": {"name": "sdops.webui.sdops", "tasks_from": "select_routes"}},
                {"ansible.builtin.debug": {"msg": "whole {{ sdops_github | hash('sha1') }}"}},
            ],
        }
    ]
    (short_path / "play.yml").write_text(yaml.safe_dump(play))
    github = f"https://me:{PASSWORDS[2]}@git.example.com"
    variables = {
        "sdops_home": f"{short_path}/home",
        "sdops_device": "cpu",
        "sdops_pip_index_url": main.url,
        "sdops_pip_extra_index_urls": [extra.url],
        "sdops_github": github,
        "ansible_python_interpreter": str(BIN / "python"),
    }
    # as an inventory gives them: what a role finds out takes their place
    inventory = short_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": variables}}}))
    output = short_path / "output.txt"
    with output.open("wb") as stream:
        import subprocess

        process = subprocess.Popen(
            [str(BIN / "ansible-playbook"), "-vvvv", "--diff", "-i", str(inventory), str(short_path / "play.yml")],
            env={**ansible_environment(), "ANSIBLE_LOG_PATH": str(short_path / "ansible.log"), "UV_NO_CONFIG": "1"},
            cwd=short_path,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    watcher = Watcher(process.pid)
    process.wait(300)
    watcher.stop()
    text = output.read_text()
    assert process.returncode == 0, text[-4000:]
    assert f"whole {hashlib.sha1(github.encode()).hexdigest()}" in text  # git is still given its login
    for server, name in ((main, "sdops_one"), (main, "sdops_pip"), (extra, "sdops_two")):
        assert (f"/f/{name}-1.0-py3-none-any.whl", True) in server.seen, server.seen
    netrc = short_path / "home/secrets/netrc"
    assert netrc.stat().st_mode & 0o777 == 0o600 and all(p in netrc.read_text() for p in PASSWORDS)
    # environments are their owner's to read: only arguments are everybody's
    assert {found for found in watcher.found if " in cmdline " in found} == set()
    assert watcher.seen > 10
    reported = []
    for path in short_path.rglob("*"):
        if path.is_file() and path not in (netrc, inventory, short_path / "play.yml"):
            reported += [f"{secret} in {path}" for secret in PASSWORDS if secret.encode() in path.read_bytes()]
    assert reported == []
