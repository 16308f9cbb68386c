"""How much of the machine is ours, and what a compiler needs."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import BuildError
from ansible_collections.sdops.webui.plugins.module_utils.xformers import machine as machine_module
from ansible_collections.sdops.webui.plugins.module_utils.xformers.build import platform_tags
from ansible_collections.sdops.webui.plugins.module_utils.xformers.machine import Machine, check_tools, jobs, machine

GIB = 1 << 30


def write(root: Path, **files: str) -> str:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.fixture
def meminfo(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {64 << 20} kB\nMemFree: 5 kB\nMemAvailable: {50 << 20} kB\n")
    return str(path)


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    monkeypatch.setattr(machine_module.os, "sched_getaffinity", lambda pid: set(range(16)))


def test_without_limits(tmp_path, meminfo):
    assert machine(str(tmp_path / "none"), meminfo) == Machine(16.0, 50 * GIB)


def test_limits_of_the_container_count(tmp_path, meminfo):
    two = write(
        tmp_path / "2",
        cpu_dot_max="400000 100000\n",
        memory_dot_max=f"{30 * GIB}\n",
        memory_dot_current=f"{5 * GIB}\n",
    )
    assert machine(two, meminfo) == Machine(4.0, 25 * GIB)
    full = write(
        tmp_path / "3", cpu_dot_max="max 100000", memory_dot_max=f"{30 * GIB}", memory_dot_current=f"{29 * GIB}"
    )
    assert machine(full, meminfo) == Machine(16.0, 15 * GIB)  # most of that is cache
    unlimited = write(tmp_path / "4", cpu_dot_max="max 100000", memory_dot_max="max")
    assert machine(unlimited, meminfo) == Machine(16.0, 50 * GIB)
    one = write(
        tmp_path / "1",
        cpu__cpu_dot_cfs_quota_us="50000",
        cpu__cpu_dot_cfs_period_us="100000",
        memory__memory_dot_limit_in_bytes=str(2 * GIB),
        memory__memory_dot_usage_in_bytes=str(GIB // 2),
    )
    assert machine(one, meminfo) == Machine(0.5, 3 * GIB // 2)


@pytest.mark.parametrize(
    ("cores", "gib", "expected"), [(16, 120, 12), (16, 30, 3), (4, 120, 4), (0.5, 2, 1), (8, 0, 1), (2.5, 100, 2)]
)
def test_a_job_for_each_core_and_ten_gib(cores, gib, expected):
    assert jobs(Machine(cores, int(gib * GIB))) == expected


@pytest.fixture
def missing_tools(monkeypatch, tmp_path):
    for name in ("CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(machine_module, "CUDA_DIRECTORIES", ())
    return tmp_path


def test_everything_that_is_missing_is_reported_at_once(missing_tools):
    with pytest.raises(BuildError) as caught:
        check_tools(
            str(missing_tools / "bin/python"), "12.1", None, str(missing_tools / "work/deeper"), Machine(1, GIB)
        )
    for word in ("build-essential", "ninja", "nvcc of CUDA 12.1", "xformers_build_cuda_home", "memory: 1.0 GiB"):
        assert word in str(caught.value)


def test_insufficient_space(missing_tools, monkeypatch):
    monkeypatch.setattr(machine_module, "BUILD_DISK_BYTES", 1 << 60)
    with pytest.raises(BuildError, match=r"GiB of free space in .*, where"):
        check_tools("/usr/bin/python3", "12.1", None, str(missing_tools / "work"), Machine(1, 64 * GIB))


def test_nvcc_of_another_cuda_is_rejected(missing_tools, nvcc):
    with pytest.raises(
        BuildError, match=r"nvcc of CUDA 12\.1, as torch was built with: .*cuda-11\.8/bin/nvcc is of 11\.8"
    ):
        check_tools("/usr/bin/python3", "12.1", str(nvcc("11.8")), str(missing_tools), Machine(1, 64 * GIB))


def test_the_toolkit_is_found(tools, nvcc, monkeypatch):
    home = nvcc("12.4")  # the same major version will do
    for given in (str(home), None):
        monkeypatch.setenv("CUDA_HOME", str(home))
        found = check_tools(str(tools), "12.1", given, "/", Machine(1, 64 * GIB))
        assert found["CUDA_HOME"] == str(home)
        assert found["PATH"].startswith(str(tools.parent))


def test_cpu_build_requires_no_toolkit(tools, missing_tools, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "CUDA_HOME" not in check_tools(str(tools), None, None, "/", Machine(1, GIB))


def test_tags_name_the_c_library() -> None:
    """A wheel that was built with a newer one does not load with an older one, so hosts of both kinds do not share it."""
    python, platform_ = platform_tags(sys.executable)
    assert python == f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert platform_.startswith("linux_") and platform_.endswith("_".join(platform.libc_ver()).replace(".", "_"))
