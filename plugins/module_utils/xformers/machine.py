# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine can give to a compiler: cores, memory, and the tools themselves."""

from __future__ import annotations

import os
import re
import shutil
from typing import NamedTuple

from ..errors import BuildError
from ..process import run

GB_PER_JOB = 10  # one nvcc with its threads over flash attention takes up to that
BUILD_DISK_BYTES = 6 << 30  # bytes that sources, objects and the wheel take
CUDA_DIRECTORIES = ("/usr/local/cuda", "/opt/cuda")


class Machine(NamedTuple):
    """``cores`` (may be a fraction under a quota) and ``memory`` in bytes that we may use."""

    cores: float
    memory: int


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as handle:
            return int(handle.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _quota(root: str) -> float | None:
    """Cores that the control group allows, None without a limit."""
    try:
        with open(os.path.join(root, "cpu.max"), encoding="ascii") as handle:
            quota, period = handle.read().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    quota1 = _number(os.path.join(root, "cpu/cpu.cfs_quota_us"))
    period1 = _number(os.path.join(root, "cpu/cpu.cfs_period_us"))
    return quota1 / period1 if quota1 and quota1 > 0 and period1 else None


def _meminfo(path: str) -> dict[str, int]:
    found = {}
    try:
        with open(path, encoding="ascii") as handle:
            for line in handle:
                match = re.match(r"^(\w+):\s+(\d+) kB", line)
                if match:
                    found[match.group(1)] = int(match.group(2)) << 10
    except OSError:
        pass
    return found


def machine(cgroup: str = "/sys/fs/cgroup", meminfo: str = "/proc/meminfo") -> Machine:
    """What is left for us here, limits of the container included."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _quota(cgroup)
    values = _meminfo(meminfo)
    memory = values.get("MemAvailable") or values.get("MemTotal") or 0
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most = _number(os.path.join(cgroup, limit))
        if most is not None:
            left = most - (_number(os.path.join(cgroup, used)) or 0)
            # what the group has read from disk counts as used, and can be had back
            memory = min(memory, max(left, most // 2))
    return Machine(min(cores, quota) if quota else cores, memory)


def jobs(here: Machine) -> int:
    """How many compilers at once."""
    return max(1, min(int(here.cores), here.memory // (GB_PER_JOB << 30)))


def find_nvcc(cuda_home: str | None) -> str | None:
    """Path of nvcc: below ``cuda_home``, else as the environment and the usual places have it."""
    if cuda_home:
        places = [cuda_home]
    else:
        places = [p for p in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")) if p]
    for place in places:
        path = os.path.join(place, "bin", "nvcc")
        if os.access(path, os.X_OK):
            return path
    if cuda_home:
        return None
    found = shutil.which("nvcc")
    if found:
        return found
    for place in CUDA_DIRECTORIES:
        path = os.path.join(place, "bin", "nvcc")
        if os.access(path, os.X_OK):
            return path
    return None


def check_tools(python: str, cuda: str | None, cuda_home: str | None, work: str, here: Machine) -> dict[str, str]:
    """Environment for the build. Raises BuildError with everything that is missing at once.

    ``cuda`` is torch's own ("12.1"; None for a CPU build): extensions must be compiled by the same major version.
    """
    lacks: list[str] = []
    environment: dict[str, str] = {}
    path = os.pathsep.join([os.path.dirname(python), os.environ.get("PATH", os.defpath)])
    if not shutil.which(os.environ.get("CXX", "g++"), path=path) and not shutil.which("c++", path=path):
        lacks.append("a C++ compiler (apt-get install build-essential)")
    if not shutil.which("ninja", path=path):
        lacks.append("ninja (it comes with the Python package of that name)")
    if cuda:
        nvcc = find_nvcc(cuda_home)
        if not nvcc:
            lacks.append(
                f"nvcc of CUDA {cuda} (take an image with the CUDA toolkit, or say where it is: xformers_build_cuda_home)"
            )
        else:
            found = re.search(r"release (\d+)\.(\d+)", run([nvcc, "--version"], timeout=60).out)
            have = "{}.{}".format(*found.groups()) if found else "an unknown version"
            if have.split(".")[0] != cuda.split(".")[0]:
                lacks.append(
                    f"nvcc of CUDA {cuda}, as torch was built with: {nvcc} is of {have} (xformers_build_cuda_home names another one)"
                )
            environment["CUDA_HOME"] = os.path.dirname(os.path.dirname(nvcc))
    directory = work
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    free = shutil.disk_usage(directory).free
    if cuda and free < BUILD_DISK_BYTES:
        lacks.append(
            f"{BUILD_DISK_BYTES / 2**30:.0f} GiB of free space in {directory}, where {free / 2**30:.1f} GiB are left"
        )
    if cuda and here.memory < 3 << 30:
        lacks.append("memory: %.1f GiB are left, and one compiler takes 3 GiB and more" % (here.memory / 2**30))
    if lacks:
        raise BuildError("xformers cannot be built here. Missing: {}.".format("; ".join(lacks)))
    environment["PATH"] = path
    return environment
