"""Missing Debian packages. Oracle: the real apt and dpkg, with sources, lists and an installation of their own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("apt-get") or not shutil.which("dpkg-deb"), reason="needs apt, and to be root"
)
PLAY = """
- hosts: webui
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: sdops.webui.base
        tasks_from: packages
      vars:
        base_packages: [sdops-hello]
"""


class Apt:
    def __init__(self, top: Path) -> None:
        self.top, self.repo, self.root = top, top / "repo", top / "root"
        self.lists, self.dpkg, self.sources = top / "lists", self.root / "var/lib/dpkg", top / "sources.list"
        for path in (
            self.repo,
            self.lists / "partial",
            self.dpkg / "info",
            self.dpkg / "updates",
            top / "cache/archives/partial",
        ):
            path.mkdir(parents=True)
        (self.dpkg / "status").touch()
        tree = top / "package"
        (tree / "DEBIAN").mkdir(parents=True)
        control = "Package: sdops-hello\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: x\n"
        (tree / "DEBIAN/control").write_text(control)
        subprocess.run(["dpkg-deb", "-b", tree, self.repo / "hello.deb"], check=True, capture_output=True)
        data = (self.repo / "hello.deb").read_bytes()
        self.index = f"{control}Filename: ./hello.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        (self.repo / "Packages").write_text(self.index)
        self.good = f"deb [trusted=yes] file:{self.repo} ./\n"
        self.sources.write_text(self.good)
        self.config = top / "apt.conf"
        self.config.write_text(
            f'Dir::State "{top}";\nDir::State::lists "{self.lists}";\nDir::State::status "{self.dpkg}/status";\n'
            f'Dir::Cache "{top}/cache";\nDir::Etc::sourcelist "{self.sources}";\nDir::Etc::sourceparts "/dev/null";\n'
            f'Dir::Log "{top}";\nAPT::Sandbox::User "root";\nDPkg::Options {{"--root={self.root}"; "--force-not-root";}};\n'
            'DPkg::Pre-Invoke ""; DPkg::Post-Invoke "";\n#clear DPkg::Pre-Install-Pkgs;\n#clear DPkg::Post-Invoke;\n'
            "#clear DPkg::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
        )

    def installed(self) -> bool:
        return "sdops-hello" in (self.dpkg / "status").read_text()


@pytest.fixture
def apt(site, tmp_path, monkeypatch):
    made = Apt(tmp_path)
    monkeypatch.setenv("APT_CONFIG", str(made.config))
    monkeypatch.setenv("DPKG_ADMINDIR", str(made.dpkg))
    (site.base / "packages.yml").write_text(PLAY)
    made.play = lambda *more: site.play(str(site.base / "packages.yml"), *more, sdops_manage_packages=True)
    return made


@pytest.fixture
def closed():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_is_missing_is_installed_once(apt):
    result = apt.play("--check")
    assert result.returncode == 0 and not apt.installed(), result.stdout
    result = apt.play()
    assert result.returncode == 0 and apt.installed(), result.stdout
    assert "apt-get update says" not in result.stdout
    assert "changed=0" in apt.play().stdout


@pytest.mark.parametrize("kind", ["refused", "no Release file", "not signed"])
def test_a_dead_source_of_somebody_else_is_a_warning(apt, closed, kind):
    empty = apt.top / "empty"
    empty.mkdir()
    (empty / "Packages").touch()
    if kind == "not signed":
        (empty / "Release").write_text("Origin: x\n")
    source = {
        "refused": f"deb http://127.0.0.1:{closed}/debian stable main\n",
        "no Release file": f"deb file:{apt.top}/gone stable main\n",
        "not signed": f"deb file:{empty} ./\n",
    }[kind]
    apt.sources.write_text(source + apt.good)
    started = time.monotonic()
    result = apt.play()
    assert result.returncode == 0 and apt.installed(), result.stdout
    assert time.monotonic() - started < 120
    assert "Repair or remove these sources" in result.stdout
    assert source.split()[1] in result.stdout


def test_failure_without_a_source_reports_the_reason(apt, closed):
    apt.sources.write_text(f"deb http://127.0.0.1:{closed}/debian stable main\n")
    result = apt.play()
    assert result.returncode != 0
    for words in ("sdops-hello cannot be installed on box", f"127.0.0.1:{closed}", "sdops_manage_packages"):
        assert words in result.stdout, result.stdout


@pytest.mark.parametrize("kind", ["lists", "frontend"])
def test_a_lock_is_waited_for(apt, monkeypatch, kind):
    """As by unattended-upgrades, which runs when a box was just started."""
    path = apt.lists / "lock" if kind == "lists" else apt.dpkg / "lock-frontend"
    locked = open(path, "w")
    fcntl.lockf(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    command = (
        ["apt-get", "update"]
        if kind == "lists"
        else ["apt-get", "-o", "DPkg::Lock::Timeout=0", "install", "sdops-hello"]
    )
    if kind != "lists":
        subprocess.run(["apt-get", "update"], check=True, capture_output=True)
    assert (
        "Could not get lock"
        in subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stderr
    )
    calls = apt.top / "calls"
    wrapper = apt.top / "bin/apt-get"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$1" >> {calls}\nexec {shutil.which("apt-get")} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")

    def release() -> None:
        while not calls.exists() or (kind == "frontend" and "install" not in calls.read_text()):
            time.sleep(0.1)
        time.sleep(5)
        locked.close()

    threading.Thread(target=release, daemon=True).start()
    result = apt.play()
    assert result.returncode == 0 and apt.installed(), result.stdout
