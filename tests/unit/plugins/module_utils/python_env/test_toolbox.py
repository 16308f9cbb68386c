"""The toolbox is judged by what it can do. Oracles: real virtual environments, real pip, and interpreters that are gone."""

from __future__ import annotations

import ensurepip
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import ToolboxError
from ansible_collections.sdops.webui.plugins.module_utils.python_env import toolbox as toolbox_module
from ansible_collections.sdops.webui.plugins.module_utils.python_env.pip_config import (
    effective_setting,
    read_pip_config,
)
from ansible_collections.sdops.webui.plugins.module_utils.python_env.toolbox import (
    Toolbox,
    find_unreachable,
    host_python,
)
from helpers.paths import ROOT
from pip._internal.models.index import PyPI

LOCK = ROOT / "roles/base/files/toolbox-requirements.txt"
BLOCKS = re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK.read_text())[1:]
# small enough for a test, with a script and without dependencies
SMALL = "".join(block for block in BLOCKS if block.startswith(("packaging==", "certifi==", "charset-normalizer==")))
BASE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(where toolboxes of these tests lie, a copy of one that is whole)"""
    top = tmp_path_factory.mktemp("home")
    return top / "toolbox", top / "copy"


@pytest.fixture
def toolbox_dir(whole, run_module):
    """A toolbox that holds SMALL, and was found whole."""
    path, copy = whole
    if not copy.exists():
        result = run_module("toolbox", path=str(path), requirements=SMALL, python=BASE)
        assert not result["failed"], result
        path.rename(copy)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(copy, path, symlinks=True)
    Toolbox(str(path), BASE).record_check(SMALL)
    return path


def info(run_module, path):
    result = run_module("host_state_info", toolbox=str(path))
    assert not result["failed"], result
    return {**result["state"]["toolbox"], "python": result["state"]["python"]}


def test_nothing_is_compiled_before_it_is_imported(tmp_path, run_module, monkeypatch):
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    result = run_module("toolbox", path=str(tmp_path / "toolbox"), requirements=SMALL, python=BASE)
    assert not result["failed"], result
    (package,) = (tmp_path / "toolbox").glob("lib/python*/site-packages/packaging")
    # the check imports the package itself, and not what lies below it
    assert list(package.glob("licenses/*.py")) and not list(package.glob("licenses/__pycache__/*"))


def test_check_apply_check_apply(tmp_path, four_times, run_module):
    path = tmp_path / "toolbox"
    assert info(run_module, path)["usable"] is False
    planned, applied = four_times("toolbox", path=str(path), requirements=SMALL, python=BASE)
    assert planned["actions"] == applied["actions"] == [f"rebuild {path}"]
    found = info(run_module, path)
    assert found["usable"] and not found["reason"] and found["python"] == sys.executable
    # a newer lock: packages only
    lock = SMALL + "".join(b for b in BLOCKS if b.startswith(("requests==", "urllib3==", "idna==")))
    planned, applied = four_times("toolbox", path=str(path), requirements=lock, python=BASE)
    assert planned["actions"] == applied["actions"] == [f"install packages into {path}"]
    assert subprocess.run([path / "bin/python", "-c", "import requests"]).returncode == 0


def site(path: Path) -> Path:
    return next((path / "lib").glob("python3*/site-packages"))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def zeros(file: Path) -> None:
    file.write_bytes(b"\0" * file.stat().st_size)
    os.utime(file, (1, 1))  # Python tells a file of the same size from the compiled one by whole seconds


def another_python(path: Path) -> None:
    """As after an upgrade of the distribution: the interpreter is a newer one, the packages lie in the former one's directory."""
    lib = next((path / "lib").glob("python3*"))
    lib.rename(path / "lib" / "python3.1")


def removed_python(path: Path) -> None:
    for name in path.glob("bin/python*"):
        name.unlink()
        name.symlink_to("/opt/gone/bin/python3.9")


def broken_python(path: Path) -> None:
    for name in path.glob("bin/python*"):
        name.unlink()
        name.write_text("#!/bin/sh\necho 'error while loading shared libraries: libpython3.9.so' >&2\nexit 127\n")
        name.chmod(0o755)


def moved(path: Path) -> None:
    for script in path.glob("bin/normalizer"):
        script.write_bytes(script.read_bytes().replace(os.fsencode(path), b"/" + b"x" * (len(os.fsencode(path)) - 1)))


DAMAGES = {
    "no pip": lambda path: shutil.rmtree(site(path) / "pip"),
    "pip not unpacked": lambda path: [shutil.rmtree(each) for each in site(path).glob("pip*")],
    "a file without content": lambda path: empty(site(path) / "packaging/markers.py"),
    "a file that is short": lambda path: os.truncate(site(path) / "certifi/cacert.pem", 1000),
    "a module of zeros": lambda path: zeros(site(path) / "packaging/__init__.py"),
    "no RECORD": lambda path: empty(next(site(path).glob("certifi*.dist-info")) / "RECORD"),
    "no METADATA": lambda path: empty(next(site(path).glob("certifi*.dist-info")) / "METADATA"),
    "another Python": another_python,
    "its Python is gone": removed_python,
    "its Python does not start": broken_python,
    "no pyvenv.cfg": lambda path: (path / "pyvenv.cfg").unlink(),
    "moved": moved,
    "only a directory": lambda path: [shutil.rmtree(path), path.mkdir()],
    "a file in its place": lambda path: [shutil.rmtree(path / "bin"), (path / "bin").write_text("")],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_work_is_seen(toolbox_dir, run_module, damage):
    assert info(run_module, toolbox_dir)["usable"]
    DAMAGES[damage](toolbox_dir)
    found = info(run_module, toolbox_dir)
    assert not found["usable"] and found["reason"], found
    assert subprocess.run([found["python"], "-c", ""]).returncode == 0
    planned = run_module("toolbox", check=True, path=str(toolbox_dir), requirements=SMALL, python=BASE)
    assert not planned["failed"] and planned["actions"] == [f"rebuild {toolbox_dir}"], planned


def test_what_was_checked_is_not_imported_again(toolbox_dir, monkeypatch):
    """Until a file of it changes, the machine starts again, or more is asked."""
    toolbox = Toolbox(str(toolbox_dir), BASE)
    monkeypatch.setattr(toolbox_module, "TOOLBOX_SCRIPT", 'print(\'[["nothing", "the script ran", true]]\')')
    ran = (["nothing: the script ran"], True)
    (toolbox_dir / "checked").unlink()
    assert toolbox.inspect(SMALL) == ran
    toolbox.record_check(SMALL)
    assert toolbox.inspect(SMALL) == toolbox.inspect() == ([], False)
    assert toolbox.inspect(SMALL + BLOCKS[-1]) == ran
    assert Toolbox(str(toolbox_dir), BASE, (3, 9)).inspect(SMALL) == ran
    for boot in ("not there", "pyvenv.cfg"):
        monkeypatch.setattr(toolbox_module, "BOOT_ID", str(toolbox_dir / boot))
        assert toolbox.inspect(SMALL) == ran
    toolbox.record_check(SMALL)
    # what Python compiles itself is no change
    subprocess.run([toolbox_dir / "bin/python", "-c", "import packaging.version, certifi"], check=True)
    assert toolbox.inspect(SMALL) == ([], False)
    file = site(toolbox_dir) / "packaging/version.py"
    before = file.stat()
    file.write_bytes(b"\0" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert toolbox.inspect(SMALL) == ran


@pytest.mark.parametrize("damage", ["no pip", "another Python", "its Python is gone", "a file in its place"])
def test_what_does_not_work_is_rebuilt(toolbox_dir, run_module, damage):
    DAMAGES[damage](toolbox_dir)
    result = run_module("toolbox", path=str(toolbox_dir), requirements=SMALL, python=BASE)
    assert not result["failed"] and result["actions"] == [f"rebuild {toolbox_dir}"], result
    assert info(run_module, toolbox_dir)["usable"]
    assert not run_module("toolbox", path=str(toolbox_dir), requirements=SMALL, python=BASE)["changed"]


@pytest.mark.parametrize("there", ["photo.txt", "bin/tool", "pyvenv.cfg", "requirements.txt"])
def test_a_directory_of_somebody_else_is_not_cleared(tmp_path, run_module, there):
    path = tmp_path / "toolbox"
    (path / there).parent.mkdir(parents=True)
    (path / there).write_text("mine")
    for check in (True, False):
        result = run_module("toolbox", check=check, path=str(path), requirements=SMALL, python=BASE)
        assert result["failed"] and str(path) in result["msg"] and "was not made by this collection" in result["msg"]
    assert (path / there).read_text() == "mine" and len(list(path.iterdir())) == 1


def test_a_package_that_is_gone_is_installed(toolbox_dir, run_module):
    for each in site(toolbox_dir).glob("packaging*"):
        shutil.rmtree(each)
    assert not info(run_module, toolbox_dir)["usable"]
    result = run_module("toolbox", path=str(toolbox_dir), requirements=SMALL, python=BASE)
    assert not result["failed"] and result["actions"] == [f"install packages into {toolbox_dir}"], result
    assert info(run_module, toolbox_dir)["usable"]


def test_a_python_without_ensurepip_is_named(tmp_path, run_module):
    """As on Debian without python3-venv: venv leaves a half-made directory, which must not be taken for one."""
    fake = tmp_path / "python3"
    fake.write_text(
        f'#!/bin/sh\ntest "$2" = venv || exec {BASE} "$@"\n{BASE} -m venv --without-pip "$3"\n'
        "echo 'The virtual environment was not created successfully because ensurepip is not available.'\nexit 1\n"
    )
    fake.chmod(0o755)
    path = tmp_path / "toolbox"
    for _ in range(2):
        result = run_module("toolbox", path=str(path), requirements=SMALL, python=str(fake))
        assert result["failed"] and "python3-venv" in result["msg"] and "ansible_python_interpreter" in result["msg"]
        assert not info(run_module, path)["usable"]
    assert (path / "bin/python").exists()
    assert run_module("toolbox", path=str(path), requirements=SMALL, python=BASE)["actions"] == [f"rebuild {path}"]


@pytest.mark.parametrize("stands_alone", [True, False])
def test_pip_is_that_of_ensurepip(tmp_path, monkeypatch, stands_alone):
    """Unpacked from its wheel; by ensurepip where the wheel needs others beside it, as those of Debian once did."""
    path = tmp_path / "toolbox"
    if not stands_alone:
        with zipfile.ZipFile(tmp_path / f"pip-{ensurepip.version()}-py3-none-any.whl", "w") as bundle:
            bundle.writestr("pip/__init__.py", "")
            bundle.writestr("pip/__main__.py", "import a_library_that_is_elsewhere")
            bundle.writestr("pip/mine.py", "")
        places = (
            f"sysconfig.get_config_var = lambda name: {str(tmp_path)!r}; ensurepip.__file__ = '/nowhere/__init__.py'"
        )
        script = f"import ensurepip, sysconfig; {places}\n{toolbox_module.UNPACK_PIP_SCRIPT}"
        monkeypatch.setattr(toolbox_module, "UNPACK_PIP_SCRIPT", script)
    assert Toolbox(str(path), BASE).install(SMALL, rebuild=True) == []
    done = subprocess.run([path / "bin/python", "-m", "pip", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith(f"pip {ensurepip.version()} from {path}")
    assert (path / "bin/pip").exists() is not stands_alone and not list(site(path).glob("pip/mine.py"))
    assert Toolbox(str(path), BASE).inspect(SMALL) == ([], False)


def test_the_host_python_beneath_a_toolbox(toolbox_dir):
    assert host_python(str(toolbox_dir), "/usr/bin/python3.11") == "/usr/bin/python3.11"
    beneath = host_python(str(toolbox_dir), str(toolbox_dir / "bin/python"))
    assert not beneath.startswith(str(toolbox_dir)) and os.access(beneath, os.X_OK)
    (toolbox_dir / "pyvenv.cfg").write_text("home = /opt/gone/bin\n")
    assert host_python(str(toolbox_dir), str(toolbox_dir / "bin/python")) in (
        "/usr/bin/python3",
        str(toolbox_dir / "bin/python"),
    )


# --- the index


@pytest.fixture
def pip_conf(tmp_path, monkeypatch):
    """pip.conf of the host: ``pip_conf(text)``."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "none"))
    config = tmp_path / "home/.config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    return config.write_text


@pytest.fixture
def closed():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def silent():
    """A port that takes connections and says nothing, as a firewall that swallows."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["refused", "silent", "no such name", "404", "502"])
def test_a_dead_index_is_named_within_seconds(tmp_path, run_module, pip_conf, closed, silent, serve, kind):
    answers, _ = serve(lambda path, headers: (502 if kind == "502" else 404, {}, b"bad"))
    url = {
        "refused": f"http://127.0.0.1:{closed}/simple",
        "silent": f"http://127.0.0.1:{silent}/simple/",
        "no such name": "http://mirror.invalid/simple",
    }.get(kind, answers + "/simple")
    pip_conf(f"[global]\nindex-url = {url.replace('://', '://me:pass@hunter2@')}\n")
    started = time.monotonic()
    result = run_module("toolbox", path=str(tmp_path / "toolbox"), requirements=SMALL, python=BASE)
    assert time.monotonic() - started < 30
    assert result["failed"] and url in result["msg"] and "hunter2" not in str(result), result["msg"]
    for word in ("pip.conf", "sdops_pip_index_url", "mirrors"):
        assert word in result["msg"]
    assert not (tmp_path / "toolbox").exists()


def test_an_index_of_other_packages_is_not_dead(serve):
    url, _ = serve(lambda path, headers: (200 if path == "/simple/" else 404, {}, b"<a>mine</a>"))
    assert find_unreachable([url + "/simple", url + "/simple/"]) == ["", ""]
    assert find_unreachable([url + "/other"]) == ["it answers 404 Not Found"]


def test_without_an_index_none_is_queried(tmp_path, closed):
    settings = {"global.no-index": "true", "global.index-url": f"http://127.0.0.1:{closed}/simple"}
    toolbox = Toolbox(str(tmp_path), BASE)
    main = toolbox._main_index(settings)
    assert toolbox._reachable_indexes(settings, main) == ({}, [])
    with pytest.raises(ToolboxError):
        toolbox._reachable_indexes({**settings, "global.no-index": "false"}, main)


def test_where_none_is_set_it_is_pips_own(tmp_path, pip_conf):
    """pip is the oracle: the index that its help names."""
    toolbox = Toolbox(str(tmp_path), sys.executable)
    url, setting = toolbox._main_index(read_pip_config(toolbox.python))
    said = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert f"(default {url})" in said.stdout and not setting


def test_without_pip_its_default_is_not_called_dead(tmp_path, pip_conf, closed):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named pip >&2; exit 1\n")
    python.chmod(0o755)
    toolbox = Toolbox(str(tmp_path / "toolbox"), str(python))
    main = toolbox._main_index(read_pip_config(toolbox.python))
    assert main == ("", "")
    more = f"http://127.0.0.1:{closed}/simple"
    assert toolbox._reachable_indexes({}, main) == ({}, [])
    _, (warning,) = toolbox._reachable_indexes({":env:.extra-index-url": more}, main)
    assert more in warning


def test_a_toolbox_that_works_is_not_cleared_for_a_dead_index(toolbox_dir, run_module, pip_conf, closed):
    pip_conf(f"[install]\nindex-url = http://127.0.0.1:{closed}/simple\n")
    shutil.rmtree(site(toolbox_dir) / "certifi")
    before = sorted(toolbox_dir.rglob("*"))
    assert run_module("toolbox", path=str(toolbox_dir), requirements=SMALL, python=BASE)["failed"]
    assert sorted(toolbox_dir.rglob("*")) == before


REAL_INDEX = effective_setting(read_pip_config(sys.executable), "index-url") or PyPI.simple_url
REAL_CONFIG = {
    k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k in ("PIP_CERT", "PIP_CLIENT_CERT")
}


@pytest.mark.parametrize("section", ["global", "install"])
def test_a_dead_additional_index_is_a_warning(tmp_path, run_module, pip_conf, closed, monkeypatch, section):
    for name, value in REAL_CONFIG.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1," + os.environ.get("NO_PROXY", ""))
    pip_conf(f"[{section}]\nindex-url = {REAL_INDEX}\nextra-index-url = http://127.0.0.1:{closed}/simple\n")
    started = time.monotonic()
    result = run_module("toolbox", path=str(tmp_path / "toolbox"), requirements=SMALL, python=BASE)
    assert not result["failed"], result
    assert time.monotonic() - started < 90
    (warning,) = [line for line in map(str, result["warnings"]) if "additional package index" in line]
    assert f"127.0.0.1:{closed}" in warning


def test_another_file_than_the_locked_one_is_reported(tmp_path, run_module):
    wrong = re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, SMALL)
    result = run_module("toolbox", path=str(tmp_path / "toolbox"), requirements=wrong, python=BASE)
    assert result["failed"] and "other files than the lock" in result["msg"], result["msg"]
    assert not info(run_module, tmp_path / "toolbox")["usable"]
