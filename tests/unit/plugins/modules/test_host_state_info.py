"""host_state_info as a process. Oracles: the kernel, dpkg, pip and a real supervisord."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

LISTEN = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True); time.sleep(60)"


@pytest.fixture
def state(run_module):
    """The state that the module returns for its arguments; the same in check mode."""

    def read(**arguments: object) -> dict:
        checked, result = (run_module("host_state_info", check=check, **arguments) for check in (True, False))
        assert (result["failed"], result["changed"]) == (False, False), result
        assert checked["state"] == result["state"]
        return result["state"]

    return read


def test_nothing_is_read_that_is_not_requested(state):
    assert state() == {}


def test_files_that_cannot_be_read_are_absent(state, tmp_path):
    (tmp_path / "file").write_text("Ünïcode\n")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    names = ["file", "binary", "large", "link", "dangling", "fifo", "missing", "file/below", "."]
    paths = {name: str(tmp_path / name) for name in names}
    found = state(stat=list(paths.values()), content=list(paths.values()))
    assert {name for name, path in paths.items() if found["content"][path] is not None} == {"file", "link"}
    assert found["content"][paths["file"]] == found["content"][paths["link"]] == "Ünïcode\n"
    exists = {name for name, path in paths.items() if found["stat"][path]["exists"]}
    assert exists == {name for name, path in paths.items() if os.path.lexists(path)}
    assert found["stat"][paths["file"]] == {"exists": True, "is_dir": False, "mode": "0640", "size": 10}
    assert found["stat"][paths["."]]["is_dir"] and not found["stat"][paths["dangling"]]["is_dir"]


def test_user_names_come_without_their_passwords(state, tmp_path):
    texts = {"login": "webui:hunter2\n", "colons": "me:a:b", "none": "webui\n", "lines": "a\nb:c\n", "empty": ""}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in [*texts, "missing"]]
    found = state(user_name_files=paths)
    names = [found["user_names"][path] for path in paths]
    assert names == ["webui", "me", None, None, None, None] and "hunter2" not in str(found)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="dpkg is the oracle")
def test_package_versions_are_those_of_dpkg(state):
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n"], capture_output=True, text=True)
    known = dict(line.split() for line in listed.stdout.splitlines())
    found = state(packages=["dpkg", "no-such-package", "--version"])["packages"]
    assert found == {"dpkg": known["dpkg"], "no-such-package": "", "--version": ""}


def test_package_versions_without_dpkg(run_module, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run_module("host_state_info", packages=["dpkg"])["state"] == {"packages": {"dpkg": ""}}


def test_pip_index_is_that_of_the_host(state, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    config = tmp_path / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text("[global]\nindex-url = https://packages.invalid/simple\n")
    found = state(toolbox=str(tmp_path / "toolbox"), pip_index=True)
    assert found["pip_index_url"] == "https://packages.invalid/simple"
    assert found["python"] == sys.executable
    assert found["toolbox"] == {"usable": False, "reason": f"{tmp_path}/toolbox is not there"}
    config.write_text("")
    assert state(toolbox=str(tmp_path / "toolbox"), pip_index=True)["pip_index_url"] == ""


def test_gpu_is_that_of_gpu_facts(state, run_module, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA RTX A5000, 24564, 550.90.07, 8.6'\n")
    program.chmod(0o755)
    for name in (str(program), "/nonexistent/nvidia-smi"):
        assert state(nvidia_smi=name)["gpu"] == run_module("gpu_facts", nvidia_smi=name)["ansible_facts"]["sdops_gpu"]


def test_owner_of_a_port_is_named(state, tmp_path):
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())
            found = state(ports=[port, 1], supervisor_dir=str(tmp_path))
        finally:
            process.kill()
    assert [owner["pid"] for owner in found["ports"][str(port)]] == [process.pid]
    assert found["ports"]["1"] == [] and found["supervisord_pid"] == 0


def test_running_supervisord_is_found(state, supervisor):
    pid = state(supervisor_dir=str(supervisor))["supervisord_pid"]
    assert pid == int((supervisor / "pid").read_text())


@pytest.mark.parametrize(
    ("arguments", "needed"), [({"pip_index": True}, "toolbox"), ({"ports": [80]}, "supervisor_dir")]
)
def test_option_without_the_directory_that_it_needs(run_module, arguments, needed):
    result = run_module("host_state_info", **arguments)
    assert result["failed"] and f"needs {needed}" in result["msg"]


def test_disks_of_paths_that_may_not_exist(run_module, tmp_path):
    (tmp_path / "autodl-tmp").mkdir()
    (tmp_path / "autodl-tpm.txt").write_text("no directory")
    (tmp_path / "other").mkdir()
    paths = [str(tmp_path / name) for name in ("autodl-tpm/envs", "other", "new")]
    found = run_module("host_state_info", disks=[*paths, "/"])["state"]["disks"]
    space = shutil.disk_usage(tmp_path)
    assert [found[path]["exists"] for path in paths] == [False, True, False]
    assert {found[path]["device"] for path in paths} == {str(os.stat(tmp_path).st_dev)}
    assert all(abs(found[path]["free"] - space.free) < space.total / 20 for path in paths)
    assert [list(found[path]["similar"]) for path in paths] == [[str(tmp_path / "autodl-tmp")], [], []]
    assert found["/"]["system"] and found[paths[1]]["system"] == (os.stat(tmp_path).st_dev == os.stat("/").st_dev)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("models/Stable-diffusion/a.safetensors", True),
        ("models/Stable-diffusion/sdxl/b.CKPT", True),
        ("models/Stable-diffusion/a.vae.safetensors", False),
        ("models/Stable-diffusion/.a.safetensors.part", False),
        ("models/Stable-diffusion/a.yaml", False),
        ("models/Lora/a.safetensors", False),
    ],
)
def test_checkpoint_is_found_where_the_webui_finds_it(state, tmp_path, name, found):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    missing = str(tmp_path / "missing")
    assert state(checkpoint_dirs=[str(tmp_path), missing])["checkpoints"] == {str(tmp_path): found, missing: False}
