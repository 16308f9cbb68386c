"""conda_env as a process: a strict fake of the programs, and real py-rattler on real little channels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.fake_conda import OTHER, VERSION, calls, channel, fake_conda
from helpers.module_process import four_times, run_module, start_module
from helpers.wheels import FileServer, certificates

MARKER = ".sdops-incomplete"


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("channels")
    channel(root)
    return root


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    return fake_conda(tmp_path / "bin")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "envs" / "sd"


# --- the programs ----------------------------------------------------------------------------------------------------
def test_program_four_times(conda: Path, prefix: Path) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda), "packages": ["git=2.40"]}
    first, applied, repeated, last = four_times("conda_env", **options)
    assert first["python_version"] == VERSION and first["packages"] == {}
    assert applied["prefix"] == str(prefix) and applied["python"] == str(prefix / "bin" / "python")
    assert applied["engine"] == str(conda)
    assert applied["packages"] == {"python": VERSION, "git": "2.40"} == last["packages"]
    assert applied["diff"]["before"] == "" and "git 2.40" in applied["diff"]["after"]
    assert f"make {prefix} with Python {VERSION}" in first["actions"][0]
    assert not (prefix / MARKER).exists()
    (call,) = calls(conda)  # check mode and the second run need none
    assert call["args"] == [
        *("install", "--yes", "--json", "--prefix", str(prefix), "--override-channels", "--channel", "conda-forge"),
        *("python=" + VERSION, "git=2.40"),
    ]


def test_packages_are_added_to_what_is_there(conda: Path, prefix: Path) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda)}
    run_module("conda_env", **options)
    (prefix / "mine").touch()
    first, applied, *_ = four_times("conda_env", packages=["git", "ffmpeg=6.1"], **options)
    assert "add git, ffmpeg=6.1" in first["actions"][0]
    assert applied["packages"]["ffmpeg"] == "6.1"
    assert (prefix / "mine").exists()


def test_channel_alias_and_ca(conda: Path, prefix: Path) -> None:
    run_module(
        "conda_env", prefix=str(prefix), python=VERSION, engine=str(conda), ca_path="/ca.pem", env={"CI": "true"},
        channel_alias="https://mirror.example.org/cloud", channels=["conda-forge", "https://h/own"],
    )  # fmt: skip
    (call,) = calls(conda)
    assert "https://mirror.example.org/cloud/conda-forge" in call["args"] and "https://h/own" in call["args"]
    assert (
        call["env"]["SSL_CERT_FILE"]
        == call["env"]["REQUESTS_CA_BUNDLE"]
        == call["env"]["CONDA_SSL_VERIFY"]
        == "/ca.pem"
    )
    assert "CI" not in call["env"]  # it would accept the terms of service


def test_terms_of_service_are_nobodys_to_accept_but_the_users(conda: Path, prefix: Path) -> None:
    options = {
        "prefix": str(prefix),
        "python": VERSION,
        "engine": str(conda),
        "env": {"CI": "true"},
    }
    for channel_ in ("defaults", "https://repo.anaconda.com/pkgs/main"):
        result = run_module("conda_env", channels=[channel_], **options)
        assert result["failed"] and "terms of service" in result["msg"] and "conda-forge" in result["msg"]
        assert not prefix.exists()


def test_failure_leaves_nothing(conda: Path, prefix: Path) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda)}
    result = run_module("conda_env", packages=["nowhere"], **options)
    assert result["failed"] and "not available from current channels" in result["msg"] and str(conda) in result["msg"]
    assert not prefix.exists()
    # in an environment that is there it costs nothing else
    run_module("conda_env", **options)
    assert run_module("conda_env", packages=["nowhere"], **options)["failed"]
    assert not run_module("conda_env", **options)["changed"]


def test_another_python_is_rejected(tmp_path: Path, prefix: Path) -> None:
    conda = fake_conda(tmp_path / "bin", script=OTHER % "3.9.1")
    run_module("conda_env", prefix=str(prefix), python="3.9.1", engine=str(conda))
    before = sorted(prefix.rglob("*"))
    for check in (True, False):
        result = run_module("conda_env", check=check, prefix=str(prefix), python="3.10.6", engine=str(conda))
        assert result["failed"]
        for word in (str(prefix), "3.9.1", "3.10.6", "another prefix", "recreate"):
            assert word in result["msg"]
    assert sorted(prefix.rglob("*")) == before
    # and one that the engine makes with another Python than asked for does not pass
    lying = run_module("conda_env", prefix=str(prefix) + "2", python="3.10.6", engine=str(conda))
    assert lying["failed"] and "3.9.1" in lying["msg"]


def test_another_python_is_recreated_when_requested(tmp_path: Path, conda: Path, prefix: Path) -> None:
    other = fake_conda(tmp_path / "other", script=OTHER % "3.9.1")
    run_module("conda_env", prefix=str(prefix), python="3.9.1", engine=str(other))
    (prefix / "lib").mkdir()
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda), "recreate": True}
    first, applied, *_ = four_times("conda_env", **options)
    assert [action.split()[0] for action in first["actions"]] == ["remove", "make"]
    assert applied["python_version"] == VERSION and not (prefix / "lib").exists()
    assert "Python 3.9.1" not in applied["diff"]["after"] and "python 3.9.1" in applied["diff"]["before"]
    # what is no environment of conda's stays, whatever is told
    (prefix / "conda-meta" / "history").unlink()
    rejected = run_module("conda_env", **{**options, "python": "3.9.1", "engine": str(other)})
    assert rejected["failed"] and "no conda environment" in rejected["msg"]


def test_unmanaged_environments_are_never_deleted(conda: Path, prefix: Path) -> None:
    (prefix / "bin").mkdir(parents=True)
    (prefix / "precious").write_text("x")
    for state in ("present", "absent"):
        result = run_module("conda_env", prefix=str(prefix), python=VERSION, engine=str(conda), state=state)
        assert result["failed"], state
        assert (prefix / "precious").read_text() == "x"
    (prefix / "condabin").mkdir()
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "history").touch()
    assert "conda installation" in run_module("conda_env", prefix=str(prefix), state="absent")["msg"]


def test_killed_and_run_again(conda: Path, prefix: Path) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda)}
    process = start_module("conda_env", packages=["slow"], **options)
    while not (conda.parent / "slow").exists() and process.poll() is None:
        time.sleep(0.01)
    busy = run_module("conda_env", **options)
    assert busy["failed"] and "another run" in busy["msg"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (prefix / MARKER).exists()
    orphan = int((conda.parent / "slow").read_text())
    assert Path("/proc", str(orphan)).exists()  # the program outlives the kill of its parent
    first, applied, *_ = four_times("conda_env", **options)
    assert "clear what an unfinished run left" in first["actions"][0]
    assert set(applied["packages"]) == {"python"}
    assert removed(orphan)  # or it would go on writing


def removed(pid: int) -> bool:
    """Ended, though perhaps nobody has asked how."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill_while_adding(conda: Path, options: dict, *packages: str) -> int:
    """Kill the module while it adds packages; pid of the program that goes on."""
    process = start_module("conda_env", packages=[*packages], **options)
    while not (conda.parent / "slow").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return int((conda.parent / "slow").read_text())


@pytest.mark.parametrize("packages", [["git=2.40"], []])
def test_killed_while_adding_and_run_again(conda: Path, prefix: Path, packages: list[str]) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda)}
    run_module("conda_env", **options)
    (prefix / "mine").touch()
    orphan = kill_while_adding(conda, options, "git=2.40", "slow")
    assert not (prefix / "bin" / "python").exists()
    (prefix / ".sdops-cache").mkdir()
    first, applied, *_ = four_times("conda_env", packages=packages, **options)
    assert first["actions"][0].startswith("finish adding")
    assert applied["packages"]["python"] == VERSION and (prefix / "mine").exists()
    assert sorted(p.name for p in prefix.iterdir()) == [".sdops-made", "bin", "conda-meta", "mine"]
    assert removed(orphan)


def test_killed_while_adding_and_recreated(conda: Path, prefix: Path) -> None:
    options = {"prefix": str(prefix), "python": VERSION, "engine": str(conda)}
    run_module("conda_env", **options)
    kill_while_adding(conda, options, "slow")
    _, applied, *_ = four_times("conda_env", recreate=True, **options)
    assert applied["packages"] == {"python": VERSION}
    # the same where somebody else has broken it
    (prefix / "bin" / "python").unlink()
    rejected = run_module("conda_env", **options)
    assert rejected["failed"] and "recreate" in rejected["msg"]
    four_times("conda_env", recreate=True, **options)


def test_the_fake_is_as_dangerous_as_the_real_one(tmp_path: Path, conda: Path, prefix: Path) -> None:
    """create -y removes what is there: the module must not use it."""

    def conda_run(*arguments: str, program: Path = conda) -> tuple[int, str]:
        # conda takes CI in the environment for consent to its terms, and this test runs where that is set
        env = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run([program, *arguments], env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.split("\0")[-1]

    run_module("conda_env", prefix=str(prefix), python=VERSION, engine=str(conda))
    (prefix / "mine").touch()
    create = ["create", "-p", str(prefix), "-c", "conda-forge", "--json", "python=" + VERSION]
    rc, output = conda_run(*create)
    assert rc == 1 and "already exists" in json.loads(output)["message"]
    assert conda_run(*create, "-y")[0] == 0 and not (prefix / "mine").exists()
    rc, output = conda_run("list", "-p", str(prefix), "--json")
    assert [p["name"] for p in json.loads(output)] == ["python"]
    assert conda_run("list", "-n", "nowhere", "--json")[0] == 1
    assert conda_run("run", "-p", str(prefix), "--", "python", "--version") == (0, f"Python {VERSION}\n")
    assert conda_run("run", "-p", str(prefix), "--", "false")[0] == 1
    rc, output = conda_run(
        "install", "-y", "--override-channels", "-p", str(prefix), "-c", "https://repo.anaconda.com/pkgs/main", "git"
    )
    assert rc == 1 and json.loads(output)["exception_name"] == "CondaToSNonInteractiveError"
    assert "root_prefix" in json.loads(conda_run("info", "--json")[1])
    mamba = fake_conda(tmp_path / "other", "mamba")
    assert "envs directories" in json.loads(conda_run("info", "--json", program=mamba)[1])
    assert list(json.loads(conda_run("env", "list", "--json", program=mamba)[1])) == ["envs"]


def test_absent(conda: Path, prefix: Path) -> None:
    run_module("conda_env", prefix=str(prefix), python=VERSION, engine=str(conda))
    first, applied, *_ = four_times("conda_env", prefix=str(prefix), state="absent")
    assert first["actions"] == [f"remove {prefix}"]
    assert applied["diff"]["after"] == "" and applied["python_version"] is None
    assert not prefix.exists()


@pytest.mark.parametrize("flavour", ["conda", "mamba", "micromamba"])
def test_by_name(tmp_path: Path, flavour: str) -> None:
    program = fake_conda(tmp_path / "bin", flavour)
    env = {"PATH": "{}:{}".format(program.parent, os.environ["PATH"])}
    options = {"name": "StableDiffusion", "python": VERSION, "engine": flavour, "env": env}
    _, applied, _, last = four_times("conda_env", **options)
    assert applied["prefix"] == last["prefix"] == str(tmp_path / (flavour + "-root") / "envs" / "StableDiffusion")
    elsewhere = run_module("conda_env", check=True, envs_dir=str(tmp_path / "data"), **options)
    assert elsewhere["prefix"] == str(tmp_path / "data" / "StableDiffusion") and elsewhere["changed"]
    assert "no name" in run_module("conda_env", name="base", python=VERSION, engine=flavour, env=env)["msg"]


def test_bad_arguments(prefix: Path) -> None:
    assert "exact version" in run_module("conda_env", prefix=str(prefix), python="3.10", engine="rattler")["msg"]
    assert run_module("conda_env", prefix=str(prefix), name="x", python=VERSION)["failed"]
    assert run_module("conda_env", python=VERSION)["failed"]
    assert run_module("conda_env", prefix=str(prefix))["failed"]
    prefix.parent.mkdir()
    prefix.write_text("a file")
    result = run_module("conda_env", prefix=str(prefix), python=VERSION, engine="rattler")
    assert result["failed"] and "no directory" in result["msg"]


def test_bare_host(tmp_path: Path, prefix: Path) -> None:
    """Check mode without any engine; not even the one that is named."""
    for engine in ("rattler", str(tmp_path / "no" / "conda"), "mamba"):
        env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
        planned = run_module("conda_env", check=True, prefix=str(prefix), python="3.10.6", engine=engine, env=env)
        assert planned["changed"] and engine in planned["actions"][0], planned
        assert planned["python_version"] == "3.10.6"
    assert not prefix.exists()
    result = run_module("conda_env", prefix=str(prefix), python="3.10.6", engine=str(tmp_path / "no" / "conda"))
    assert result["failed"] and "does not exist" in result["msg"]


# --- py-rattler ------------------------------------------------------------------------------------------------------
def test_rattler_four_times(channels: Path, prefix: Path, tmp_path: Path) -> None:
    options = {
        "prefix": str(prefix),
        "python": VERSION,
        "engine": "rattler",
        "channels": [str(channels / "conda-forge")],
    }
    _, applied, *_ = four_times("conda_env", env={"HOME": str(tmp_path / "home")}, **options)
    assert applied["packages"] == {"python": VERSION, "libfake": "1.2"}
    assert (prefix / "lib" / "libfake.so").exists()
    assert not (tmp_path / "home").exists()  # nothing of it in anybody's home
    assert sorted(p.name for p in prefix.iterdir() if p.name.startswith(".")) == [".sdops-made"]
    # more packages, with what is there kept
    _, added, *_ = four_times("conda_env", packages=["ffmpeg=6.1"], **options)
    assert added["packages"] == {"python": VERSION, "libfake": "1.2", "ffmpeg": "6.1"}


def test_rattler_over_http_twice(channels: Path, prefix: Path) -> None:
    """A second environment from the same server: a warm cache would make it stumble over a 304."""
    server = FileServer(channels)
    for number in "12":
        result = run_module(
            "conda_env", prefix=str(prefix) + number, python=VERSION, engine="rattler", channel_alias=server.url
        )
        assert not result.get("failed"), result["msg"]
    server.stop()


@pytest.mark.parametrize("together", [False, True])
def test_hosts_with_a_package_cache_download_once(channels: Path, prefix: Path, together: bool) -> None:
    server = FileServer(channels)
    cache = prefix.parent / "cache"
    wish = {"python": VERSION, "engine": "rattler", "channel_alias": server.url, "package_cache_dir": str(cache)}
    running = []
    for number in "123":
        running.append(start_module("conda_env", prefix=str(prefix) + number, **wish))
        if not together:
            running[-1].wait(120)
    assert [process.wait(120) for process in running] == [0, 0, 0]
    packages = [path for path in server.requests if path.endswith((".conda", ".tar.bz2"))]
    assert packages and len(packages) == len(set(packages))
    for number in "123":
        assert (Path(str(prefix) + number) / "lib" / "libfake.so").exists()
        assert not (Path(str(prefix) + number) / ".sdops-cache").exists()
    server.stop()


def test_programs_use_the_package_cache(conda: Path, prefix: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run_module("conda_env", prefix=str(prefix), python=VERSION, engine=str(conda), package_cache_dir=str(cache))
    assert calls(conda)[-1]["env"]["CONDA_PKGS_DIRS"] == str(cache)


def test_rattler_over_a_private_ca(channels: Path, prefix: Path, tmp_path: Path) -> None:
    ca, certificate = certificates(tmp_path / "tls")
    server = FileServer(channels, certificate)
    options = {"prefix": str(prefix), "python": VERSION, "engine": "rattler", "channels": [server.url + "/conda-forge"]}
    rejected = run_module("conda_env", **options)
    assert rejected["failed"] and "certificate" in rejected["msg"] and not prefix.exists()
    assert not run_module("conda_env", ca_path=str(ca), **options).get("failed")
    options["prefix"] += "2"
    assert not run_module("conda_env", env={"SSL_CERT_FILE": str(ca)}, **options).get("failed")
    server.stop()


def test_rattler_through_a_proxy(channels: Path, prefix: Path) -> None:
    proxy = FileServer(channels)
    options = {"python": VERSION, "engine": "rattler", "channels": ["http://conda.invalid/conda-forge"]}
    result = run_module("conda_env", prefix=str(prefix), env={"http_proxy": proxy.url}, **options)
    assert not result.get("failed"), result["msg"]
    assert any(r.startswith("http://conda.invalid/") for r in proxy.requests)
    # no_proxy keeps it away from there
    proxy.requests.clear()
    direct = FileServer(channels)
    options["channels"] = [direct.url + "/conda-forge"]
    env = {"http_proxy": proxy.url, "no_proxy": "localhost,127.0.0.1"}
    assert not run_module("conda_env", prefix=str(prefix) + "2", env=env, **options).get("failed")
    assert direct.requests and not proxy.requests
    proxy.stop()
    direct.stop()


def test_rattler_failures(channels: Path, prefix: Path, tmp_path: Path) -> None:
    options = {"prefix": str(prefix), "engine": "rattler", "channels": [str(channels / "conda-forge")]}
    missing = run_module("conda_env", python="3.10.99", **options)
    assert missing["failed"] and "3.10.99" in missing["msg"] and "Check that the channel" in missing["msg"]
    assert "defaults" in run_module("conda_env", python=VERSION, **{**options, "channels": ["defaults"]})["msg"]
    without = tmp_path / "python"
    without.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    without.chmod(0o755)
    without_rattler = run_module("conda_env", python=VERSION, rattler_python=str(without), **options)
    assert (
        without_rattler["failed"]
        and "has no py-rattler" in without_rattler["msg"]
        and "role base" in without_rattler["msg"]
    )
    assert not prefix.exists()
