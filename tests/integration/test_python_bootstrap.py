"""A host whose Python is too old for ansible-core: another one is found or made, and every task runs on it.

The interpreters are real. The host is this machine with its own interpreters hidden (lab.target_python).
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import threading
import warnings
from pathlib import Path

import pytest
import yaml
from ansible import constants as C
from ansible.module_utils import basic
from ansible_collections.sdops.webui.plugins.plugin_utils.target_python import CORE_SUPPORT, parse_range
from helpers.ansible_site import ansible_environment
from helpers.fake_conda import calls, fake_conda
from helpers.paths import BIN, ROOT

from lab.target_python import become_exe, can_hide_interpreters, find_interpreter

SUPPORTED = parse_range(C.config.get_configuration_definition("INTERPRETER_PYTHON_FALLBACK")["default"])
OLD = find_interpreter("3.6") or find_interpreter("3.7")
OLDER_38 = find_interpreter("3.8")
if not OLD:
    warnings.warn("python3.6 is not here: hosts with an old Python are NOT tested.", stacklevel=1)
pytestmark = pytest.mark.skipif(
    not OLD or not can_hide_interpreters(), reason="needs python3.6 (pyenv), root and mount namespaces"
)
ARGUMENTS = {"gather_subset": ["!all", "min"], "system_packages": False, "conda_channel": "near"}


class Host:
    def __init__(self, base: Path) -> None:
        self.base = base / "host"
        self.home = base / "sdops"
        self.variables = {"ansible_connection": "local", "ansible_become": True, "ansible_remote_tmp": f"{base}/tmp"}
        self.interpreter(OLD)

    def interpreter(self, python: str, without: tuple[str, ...] = ()) -> None:
        self.variables["ansible_become_exe"] = become_exe(self.base, python, without)

    def play(self, *options: str, **arguments: object) -> subprocess.CompletedProcess[str]:
        """Bootstrap, and then run a module that reports which Python it runs on."""
        module = {"path": f"{self.home}/python", **ARGUMENTS, **arguments}
        tasks = [
            {"sdops.webui.python_bootstrap": module, "register": "made"},
            {"ansible.builtin.meta": "end_host", "when": "made.would_create"},
            {"ansible.builtin.command": "true", "changed_when": False},
            {"ansible.builtin.setup": {"gather_subset": ["!all", "min"]}},
            {"ansible.builtin.debug": {"msg": "ran on {{ ansible_facts['python_version'] }} by {{ made.python }}"}},
        ]
        return self.run([{"hosts": "webui", "gather_facts": False, "tasks": tasks}], *options)

    def run(self, play: list | Path, *options: str) -> subprocess.CompletedProcess[str]:
        inventory, book = self.base.parent / "hosts.yml", self.base.parent / "play.yml"
        inventory.write_text(yaml.safe_dump({"webui": {"hosts": {"box": self.variables}}}))
        if isinstance(play, Path):
            book = play
        else:
            book.write_text(yaml.safe_dump(play))
        return subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(inventory), str(book), *options],
            env={**ansible_environment(), "ANSIBLE_BECOME_ALLOW_SAME_USER": "true"},
            cwd=self.base.parent,
            capture_output=True,
            text=True,
            timeout=600,
        )


@pytest.fixture
def host(short_path):
    return Host(short_path)


def flat(result: subprocess.CompletedProcess[str]) -> str:
    return " ".join((result.stdout + result.stderr).split())


def test_range_is_the_one_that_modules_check():
    """ansible-core's own check of the interpreter, and the table of the message."""
    assert SUPPORTED.oldest == basic._PY_MIN
    rows = {core: (oldest, newest) for core, oldest, newest in CORE_SUPPORT}
    core = ".".join(__import__("ansible").__version__.split(".")[:2])
    assert rows[core] == SUPPORTED


def test_conda_of_the_host_makes_one_once(host):
    conda = fake_conda(host.base / "bin")
    plan = host.play("--check", "--diff")
    assert plan.returncode == 0 and "changed=1" in plan.stdout, plan.stdout
    assert "box has no Python that ansible-core" in flat(plan) and "/usr/bin/python3 (3.6.15)" in flat(plan)
    assert "ran on" not in plan.stdout and not host.home.exists()
    first = host.play()
    assert first.returncode == 0 and "changed=1" in first.stdout, first.stdout + first.stderr
    assert f"ran on {platform.python_version()} by" in flat(first)
    again = host.play()
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    made = [call["args"] for call in calls(conda) if call["args"][0] == "create"]
    assert len(made) == 1 and made[0][-1] == "python=3.11", made


def test_conda_python_of_the_host_is_used(host):
    """As on AutoDL's images with a newer miniconda: nothing is made."""
    directory = host.base / "home" / "miniconda3" / "bin"
    directory.mkdir(parents=True)
    (directory / "python").symlink_to(os.path.realpath(sys.executable))
    result = host.play()
    assert result.returncode == 0 and "changed=0" in result.stdout, result.stdout
    assert f"by {directory}/python" in flat(result) and not host.home.exists()


def test_python_38(host):
    if not OLDER_38:
        pytest.skip("python3.8 is not here")
    host.interpreter(OLDER_38)
    result = host.play()
    if SUPPORTED.oldest <= (3, 8):
        assert result.returncode == 0 and "ran on 3.8." in flat(result), result.stdout
    else:
        assert result.returncode != 0 and "use ansible-core 2.19 (Python 3.8 to 3.13) on this machine" in flat(result)


def test_failure_names_versions_and_advice(host):
    result = host.play()
    assert result.returncode != 0, result.stdout
    for words in (
        f"it needs Python {SUPPORTED}, and there is /usr/bin/python3 (3.6.15)",
        "Nothing there can make one.",
        "sdops_python_url",
        "ansible_python_interpreter",
    ):
        assert words in flat(result), result.stdout


def test_no_python_at_all(host):
    host.interpreter("")
    result = host.play()
    assert result.returncode != 0 and "there is none at all" in flat(result), result.stdout


def test_interpreter_of_the_user_is_only_checked(host):
    host.variables["ansible_python_interpreter"] = OLD
    fake_conda(host.base / "bin")
    result = host.play()
    assert result.returncode != 0 and not host.home.exists(), result.stdout
    assert f"ansible_python_interpreter of box is {OLD}, Python 3.6.15, but ansible-core" in flat(result), result.stdout
    host.variables["ansible_python_interpreter"] = sys.executable
    result = host.play()
    assert result.returncode == 0 and f"by {sys.executable}" in flat(result), result.stdout


def test_apt_get_makes_one(host):
    """Fakes of apt-get and apt-cache: the first package in the supported range is taken, as Ubuntu 20.04 has python3.9 beside 3.8."""
    programs = host.base / "bin"
    programs.mkdir(exist_ok=True)
    install = f"case $* in *install*) ln -sf {os.path.realpath(sys.executable)} {programs}/python3;; esac"
    fakes = {
        "apt-get": f'#!/bin/sh\necho "$*" >> {host.base}/apt.log\n{install}\n',
        "apt-cache": '#!/bin/sh\ncase $2 in python3) v=3.6.9-1;; python3.11) v=3.11.0-1~20.04;; *) v="(none)";; esac\n'
        'echo "$2:"; echo "  Candidate: $v"\n',
    }
    for name, text in fakes.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    result = host.play(system_packages=True)
    assert result.returncode == 0 and "changed=1" in result.stdout, result.stdout + result.stderr
    log = (host.base / "apt.log").read_text().splitlines()
    assert log[0].endswith("update") and log[1].endswith("python3.11 python3.11-venv"), log


class Tarballs(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        """Nothing on the terminal."""


@pytest.fixture
def tarball(tmp_path):
    """(URL with {arch}, SHA-256) of an archive with the layout of python-build-standalone; its interpreter leads to the tests' own."""
    data = f'#!/bin/sh\nexec {sys.executable} "$@"\n'.encode()
    path = tmp_path / f"cpython-{platform.machine()}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("python/bin/python3")
        entry.size, entry.mode = len(data), 0o755
        archive.addfile(entry, io.BytesIO(data))
    handler = functools.partial(Tarballs, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cpython-{{arch}}.tar.gz"
        yield url, hashlib.sha256(path.read_bytes()).hexdigest()
        server.shutdown()


@pytest.mark.parametrize("downloader", ["host", "controller"])
def test_tarball(host, tarball, downloader):
    url, sha256 = tarball
    if downloader == "controller":
        host.interpreter(OLD, without=("curl", "wget"))
    result = host.play(url=url, sha256={platform.machine(): sha256})
    assert result.returncode == 0 and f"downloaded by the {downloader}" in flat(result), result.stdout + result.stderr
    assert f"ran on {platform.python_version()} by" in flat(result)
    assert [path.name for path in (host.home / "python").iterdir()] == ["standalone"]
    assert "changed=0" in host.play(url=url, sha256={platform.machine(): sha256}).stdout


def test_wrong_tarball_is_not_unpacked(host, tarball):
    result = host.play(url=tarball[0], sha256={platform.machine(): "0" * 64})
    assert result.returncode != 0, result.stdout
    assert f"what was downloaded is not the file with the SHA-256 {'0' * 64}" in flat(result)
    assert list((host.home / "python").iterdir()) == []


def test_login_stays_off_the_host(host, tarball):
    """Arguments of programs can be read by everybody there: the controller downloads it."""
    url = tarball[0].replace("://", "://somebody:secret-word@")
    result = host.play("-vvv", url=url, sha256={platform.machine(): tarball[1]})
    assert result.returncode == 0 and "downloaded by the controller" in flat(result), result.stdout + result.stderr
    assert "downloaded by the host" not in flat(result)
    assert "secret-word" not in result.stderr


def test_playbooks_need_no_interpreter(host):
    """The status of a host whose own Python is too old, and the plan of its set-up."""
    fake_conda(host.base / "bin")
    given = {
        "sdops_home": str(host.home),
        "sdops_data_dir": "{{ ansible_facts['user_dir'] }}/data",
        "sdops_boot_hook": f"{host.base}/boot.sh",
        "sdops_profile_dir": f"{host.base}/profile.d",
        "sdops_user_home": f"{host.base}/home",
        "sdops_manage_packages": False,
        "sdops_python_url": "",
        "sdops_artifacts_dir": f"{host.base}/artifacts",
    }
    wrong = host.run(ROOT / "playbooks" / "site.yml", "-e", json.dumps({**given, "sdops_home": "opt"}))
    assert wrong.returncode != 0 and "sdops_home is" in flat(wrong) and "box has no Python" not in flat(wrong), (
        wrong.stdout
    )
    plan = host.run(ROOT / "playbooks" / "site.yml", "--check", "-e", json.dumps(given))
    assert plan.returncode == 0 and "box has no Python that ansible-core" in flat(plan), plan.stdout + plan.stderr
    assert not host.home.exists()
    status = host.run(ROOT / "playbooks" / "status.yml", "-e", json.dumps(given))
    assert status.returncode == 0, status.stdout + status.stderr
    assert (host.home / "python/conda/bin/python").exists()
    plan = host.run(ROOT / "playbooks" / "site.yml", "--check", "-e", json.dumps(given))
    assert plan.returncode == 0 and "rescued=0" in plan.stdout, plan.stdout + plan.stderr
    removed = host.run(ROOT / "playbooks" / "uninstall.yml", "-e", json.dumps(given))
    assert removed.returncode == 0 and not host.home.exists(), removed.stdout + removed.stderr
