"""python_packages as a process: real uv, real environments, wheels made here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from helpers.module_process import clean_environment, four_times, run_module, start_module
from helpers.paths import COLLECTIONS
from helpers.wheels import UV, FileServer, certificates, install, sdist, simple_index, venv, wheel


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("links")
    for version in ("2.1.2", "2.2.0"):
        wheel(where, "torch", version)
    for version in ("1.26.2", "2.0.0"):
        wheel(where, "numpy", version)
    wheel(where, "extension", "1.0", "numpy", "torch")
    wheel(where, "greedy", "1.0", "torch>=2.2")
    return where


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return venv(tmp_path / "env")


@pytest.fixture
def act(links: Path, python: Path, tmp_path: Path) -> dict:
    """Arguments and an environment without any index but the local directory."""
    env = {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv-cache")}
    return {"env": env, "python": str(python), "find_links": [str(links)]}


def version(python: Path, name: str) -> str:
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return subprocess.run([python, "-c", code, name], check=True, capture_output=True, text=True).stdout.strip()


NO_UV = {"uv": "/bin/false"}  # fails when it is called


def test_install_four_times(act: dict, python: Path) -> None:
    first, applied, _, last = four_times("python_packages", packages=["extension", "torch==2.1.2"], **act)
    assert first["changes"] == applied["changes"]
    assert {"name": "torch", "before": None, "after": "2.1.2"} in applied["changes"]
    assert [c["name"] for c in applied["changes"]] == ["extension", "numpy", "torch"]
    assert applied["actions"][0] == "install extension 1.0"
    assert applied["diff"] == {"before": "", "after": "extension 1.0\nnumpy 2.0.0\ntorch 2.1.2\n"}
    assert version(python, "torch") == "2.1.2"
    assert last["unmet"] == []


def test_uv_is_not_called_when_all_is_there(act: dict, tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text("extension\nnumpy<2; python_version >= '3'\nnever==1; sys_platform == 'win32'\n")
    applied = run_module("python_packages", requirements=[str(listed)], **act)
    assert applied["changed"], applied
    assert run_module("python_packages", requirements=[str(listed)], **{**act, **NO_UV})["changed"] is False
    rejected = run_module("python_packages", packages=["numpy==2.0.0"], **{**act, **NO_UV})
    assert rejected["failed"]


def test_plan_without_the_toolbox(act: dict, tmp_path: Path) -> None:
    """As after uninstall: the environment is there, and neither uv nor the packaging library."""
    (tmp_path / "blocked" / "packaging").mkdir(parents=True)
    (tmp_path / "blocked" / "packaging" / "__init__.py").write_text("raise ImportError('not here')\n")
    libraries = [str(tmp_path / "blocked"), str(COLLECTIONS), sysconfig.get_path("purelib")]
    act["env"].update(PYTHONPATH=":".join(libraries), PATH="/usr/bin:/bin")
    bare = sys._base_executable  # has no uv beside it, as the host's own Python has none
    planned = run_module("python_packages", check=True, packages=["torch"], interpreter=bare, **act)
    assert not planned["failed"], planned
    assert planned["actions"] == ["install torch"] and not planned.get("warnings"), planned
    rejected = run_module("python_packages", packages=["torch"], interpreter=bare, **act)
    assert rejected["failed"] and "Run the role base first" in rejected["msg"]


def test_without_the_packaging_library(act: dict, tmp_path: Path) -> None:
    """Then uv judges, from the disk only."""
    (tmp_path / "blocked" / "packaging").mkdir(parents=True)
    (tmp_path / "blocked" / "packaging" / "__init__.py").write_text("raise ImportError('not here')\n")
    act["env"]["PYTHONPATH"] = "{}:{}".format(tmp_path / "blocked", COLLECTIONS)
    rejected = run_module("python_packages", packages=["torch"], **{**act, **NO_UV})
    assert rejected["failed"]
    four_times("python_packages", packages=["torch==2.1.2", "extension"], **act)


def test_url_requirements(act: dict, links: Path) -> None:
    named = f"torch @ file://{links}/torch-2.2.0-py3-none-any.whl"
    wheel_path = f"{links}/numpy-1.26.2-py3-none-any.whl"
    _, applied, *_ = four_times("python_packages", packages=[named, wheel_path], **act)
    assert applied["changes"][1]["after"].startswith("2.2.0 (file://")
    assert not run_module("python_packages", packages=[named, wheel_path], **{**act, **NO_UV})["changed"]
    # the same version from the index is another source: only the label tells
    repeated = run_module("python_packages", packages=["torch==2.2.0"], reinstall=True, **act)
    assert repeated["changes"] == [{"name": "torch", "before": applied["changes"][1]["after"], "after": "2.2.0"}]


def test_constraints_and_overrides(act: dict, python: Path, tmp_path: Path) -> None:
    constraints, overrides = tmp_path / "constraints.txt", tmp_path / "overrides.txt"
    constraints.write_text("numpy==1.26.2\n")
    overrides.write_text("torch==2.1.2\n")
    rules = {"constraints": [str(constraints)], "overrides": [str(overrides)]}
    four_times("python_packages", packages=["extension", "greedy"], **rules, **act)
    assert (version(python, "numpy"), version(python, "torch")) == ("1.26.2", "2.1.2")
    # something else moves numpy: the next run puts it right
    run_module("python_packages", packages=["numpy==2.0.0"], **act)
    assert run_module("python_packages", packages=["extension", "greedy"], **rules, **act)["changed"]
    assert version(python, "numpy") == "1.26.2"


def test_what_was_bent_on_purpose_stays(act: dict, python: Path) -> None:
    run_module("python_packages", packages=["greedy"], **act)
    run_module("python_packages", packages=["torch==2.1.2"], no_deps=True, **act)
    assert not run_module("python_packages", packages=["greedy"], **act)["changed"]
    assert version(python, "torch") == "2.1.2"


def test_protected_packages_are_planned_around(act: dict, python: Path) -> None:
    run_module("python_packages", packages=["torch==2.1.2", "numpy==1.26.2"], **act)
    four_times("python_packages", packages=["extension"], protect=["torch", "NumPy"], **act)
    for check in (True, False):
        result = run_module("python_packages", check=check, packages=["greedy"], protect=["torch"], **act)
        assert result["failed"]
        assert "greedy" in result["msg"] and "torch==2.1.2" in result["msg"] and "protected" in result["msg"]
    assert version(python, "torch") == "2.1.2"


def test_a_protected_local_build_needs_no_index_that_has_it(act: dict, python: Path, tmp_path: Path) -> None:
    """torch came from PyTorch's index; what depends on it comes from another one later."""
    install(python, wheel(tmp_path / "cu121", "torch", "2.1.2+cu121"))
    four_times("python_packages", packages=["extension"], protect=["torch"], **act)
    assert version(python, "torch") == "2.1.2+cu121"


def test_a_protected_package_that_changed_is_restored(act: dict, python: Path) -> None:
    run_module("python_packages", packages=["torch==2.1.2", "extension"], **act)
    planned = run_module("python_packages", check=True, packages=["torch"], upgrade=True, protect=["torch"], **act)
    assert planned["failed"] and "would change torch from 2.1.2 to 2.2.0" in planned["msg"]
    result = run_module("python_packages", packages=["torch"], upgrade=True, protect=["torch"], **act)
    assert result["failed"]
    assert "changed torch from 2.1.2 to 2.2.0" in result["msg"] and "restored" in result["msg"]
    assert version(python, "torch") == "2.1.2"


def test_upgrade_and_reinstall(act: dict, python: Path) -> None:
    run_module("python_packages", packages=["torch==2.1.2"], **act)
    assert not run_module("python_packages", packages=["torch"], **act)["changed"]
    upgraded = run_module("python_packages", packages=["torch"], upgrade=True, **act)
    assert upgraded["actions"] == ["change torch from 2.1.2 to 2.2.0"]
    assert not run_module("python_packages", packages=["torch"], upgrade=True, **act)["changed"]
    (python.parent.parent / "marker").touch()
    repeated = run_module("python_packages", packages=["torch"], reinstall=True, link_mode="copy", **act)
    assert repeated["changed"] and repeated["actions"] == ["reinstall torch"]


BACKEND = """
import numpy  # what only the environment has, as CLIP's setup.py wants pkg_resources
import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "clip-1.0-py3-none-any.whl"
    info = "clip-1.0.dist-info/"
    with zipfile.ZipFile(directory + "/" + name, "w") as archive:
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: clip\\nVersion: 1.0\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return name
"""


def test_build_without_isolation(act: dict, tmp_path: Path) -> None:
    """A source package that builds only with what the environment has."""
    wheel(tmp_path / "backend", "backend", "1.0", files={"backend/__init__.py": BACKEND}.items())
    project = "[build-system]\nrequires = ['backend']\nbuild-backend = 'backend'\n"
    source = sdist(tmp_path / "src", "clip", "1.0", {"pyproject.toml": project})
    act["find_links"].append(str(tmp_path / "backend"))
    run_module("python_packages", packages=["numpy==1.26.2", "backend"], **act)
    options = {"packages": [f"clip @ file://{source}"]}
    isolated = run_module("python_packages", **options, **act)
    assert isolated["failed"] and "numpy" in isolated["msg"]
    # by its name: others are built in isolation all the same
    other = sdist(tmp_path / "other", "other", "1.0", {"pyproject.toml": project})
    several = {"packages": [*options["packages"], f"other @ file://{other}"]}
    mixed = run_module("python_packages", **several, no_build_isolation_packages=["clip"], **act)
    assert mixed["failed"] and "other" in mixed["msg"], mixed
    four_times("python_packages", **options, no_build_isolation_packages=["clip"], **act)


def test_hosts_with_a_cache_download_once(tmp_path: Path, links: Path) -> None:
    simple_index(tmp_path / "index", *links.glob("*.whl"))
    server = FileServer(tmp_path / "index")
    hosts = [venv(tmp_path / f"host{number}") for number in range(4)]

    def wheel_requests(cache: str, pythons: list[Path]) -> int:
        """Of ``pythons`` with one cache at the same time."""
        before = len(server.requests)
        wish = {"index_url": server.url, "packages": ["extension"], "env": {"UV_CACHE_DIR": str(tmp_path / cache)}}
        running = [start_module("python_packages", python=str(python), **wish) for python in pythons]
        assert [process.wait(120) for process in running] == [0] * len(pythons)
        return sum(path.endswith(".whl") for path in server.requests[before:])

    assert wheel_requests("shared", hosts[1:]) == wheel_requests("own", hosts[:1]) > 0
    server.stop()


def test_index_over_a_private_ca(tmp_path: Path, python: Path, links: Path) -> None:
    simple_index(tmp_path / "index", *links.glob("*.whl"))
    ca, certificate = certificates(tmp_path / "tls")
    server = FileServer(tmp_path / "index", certificate)
    act = {"python": str(python), "index_url": server.url, "packages": ["extension"], "cache_dir": str(tmp_path / "c")}
    rejected = run_module("python_packages", env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}, **act)
    assert rejected["failed"] and "certificate" in rejected["msg"]
    four_times("python_packages", env={"SSL_CERT_FILE": str(ca)}, **act)
    assert (tmp_path / "c").is_dir()
    requested = len(server.requests)
    server.stop()
    assert not run_module("python_packages", **act)["changed"]
    assert len(server.requests) == requested


def test_index_with_credentials_keeps_them_secret(act: dict) -> None:
    act["env"] = {"UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": act["env"]["UV_CACHE_DIR"]}
    result = run_module("python_packages", index_url="https://me:hunter2@localhost:9/simple", packages=["extra"], **act)
    assert result["failed"] and "localhost:9" in result["msg"]
    assert "hunter2" not in str(result)  # the arguments are in it too


def test_failure_is_explained(act: dict) -> None:
    result = run_module("python_packages", packages=["nowhere-to-be-found==3"], **act)
    assert result["failed"]
    assert "uv cannot install nowhere-to-be-found==3." in result["msg"] and "uv says" in result["msg"]


def test_bare_host(tmp_path: Path, act: dict) -> None:
    """Check mode: no environment, no file, no uv, no index."""
    missing = run_module("python_packages", check=True, python=str(tmp_path / "no"), packages=["torch==2.1.2"])
    assert missing["changed"] and missing["actions"] == ["install torch==2.1.2"]
    assert missing["diff"]["after"] == "torch==2.1.2\n"
    no_file = run_module("python_packages", check=True, requirements=[str(tmp_path / "no.txt")], **act)
    assert no_file["changed"]
    no_uv = run_module("python_packages", check=True, packages=["torch"], uv=str(tmp_path / "uv"), **act)
    assert no_uv["changed"] and no_uv["unmet"] == ["torch"] and "uv is not at" in str(no_uv["warnings"])
    unreachable = run_module("python_packages", check=True, packages=["other"], **act)
    assert unreachable["changed"] and unreachable["warnings"]
    assert run_module("python_packages", python=str(tmp_path / "no"), packages=["torch"])["failed"]


def test_killed_while_it_links_and_run_again(act: dict, python: Path, tmp_path: Path) -> None:
    """uv itself takes what the kill has left for installed: its metadata is there first."""
    path = wheel(tmp_path / "big", "big", "1.0", files=[(f"big/f{i}.py", f"x = {i}\n") for i in range(8000)])
    site = next((python.parents[1] / "lib").glob("python3*")) / "site-packages"
    command = [UV, "pip", "install", "--quiet", "--offline", "--python", python, path]
    process = subprocess.Popen([str(c) for c in command], env=clean_environment(**act["env"]))
    while not (site / "big").is_dir() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (site / "big-1.0.dist-info" / "METADATA").exists() and len(os.listdir(site / "big")) < 8001
    options = {**act, "find_links": [str(tmp_path / "big")]}
    first, applied, *_ = four_times("python_packages", packages=["big==1.0"], **options)
    assert first["changes"] == applied["changes"] == [{"name": "big", "before": "1.0 (incomplete)", "after": "1.0"}]
    assert len(os.listdir(site / "big")) == 8001


def test_half_of_a_protected_one_is_left_to_its_own_task(act: dict, python: Path) -> None:
    """Its index is not known to the others."""
    run_module("python_packages", packages=["torch==2.1.2"], **act)
    [info] = python.parents[1].rglob("torch-2.1.2.dist-info")
    (info / "INSTALLER").unlink()
    result = run_module("python_packages", packages=["numpy==1.26.2"], protect=["torch"], **act)
    assert [c["name"] for c in result["changes"]] == ["numpy"]
    result = run_module("python_packages", packages=["torch==2.1.2"], **act)
    assert result["changes"] == [{"name": "torch", "before": "2.1.2 (incomplete)", "after": "2.1.2"}]


def test_an_index_that_carries_a_few_more_hides_nothing(python: Path, tmp_path: Path) -> None:
    """As PyTorch's: torch's builds, and one numpy that the constraints do not allow."""
    made = tmp_path / "made"
    simple_index(tmp_path / "www" / "pypi", wheel(made, "numpy", "1.26.2"), wheel(made, "numpy", "2.0.0"))
    simple_index(
        tmp_path / "www" / "cu121", wheel(made, "torch", "2.1.2+cu121", "numpy"), wheel(made, "numpy", "1.24.1")
    )
    (tmp_path / "constraints.txt").write_text("numpy==1.26.2\n")
    server = FileServer(tmp_path / "www")
    options = {
        "env": {"UV_CACHE_DIR": str(tmp_path / "uv-cache")},
        "python": str(python),
        "packages": ["torch==2.1.2+cu121"],
        "constraints": [str(tmp_path / "constraints.txt")],
        "index_url": server.url + "/pypi",
        "extra_index_urls": [server.url + "/cu121"],
    }
    assert run_module("python_packages", **options)["failed"]
    four_times("python_packages", index_strategy="unsafe-best-match", **options)
    assert (version(python, "torch"), version(python, "numpy")) == ("2.1.2+cu121", "1.26.2")
    server.stop()


def test_another_build_of_the_same_version_is_another_one(act: dict, python: Path, tmp_path: Path) -> None:
    for label in ("cpu", "cu121"):
        wheel(tmp_path / "builds", "torch", "2.1.2+" + label)
    options = {**act, "find_links": [str(tmp_path / "builds")]}
    for label in ("cpu", "cu121", "cpu"):
        four_times("python_packages", packages=["torch==2.1.2+" + label], **options)
        assert version(python, "torch") == "2.1.2+" + label
