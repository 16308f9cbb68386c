# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU facts from ``nvidia-smi``, for boxes with none, one or many GPUs, and for broken drivers."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from typing import Any

from ..errors import SdopsError
from ..process import Completed, run

QUERY_FIELDS = ["index", "name", "memory.total", "driver_version", "compute_cap"]
USAGE_FIELDS = ["index", "name", "memory.used", "memory.total", "utilization.gpu"]
# where containers and WSL put it, for sessions whose PATH lacks them
SEARCH_DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/usr/local/nvidia/bin", "/opt/bin", "/usr/lib/wsl/lib")

# For drivers older than 510, whose nvidia-smi has no compute_cap: words of the card's name, first match wins.
# Source: NVIDIA's table of CUDA GPUs.
CAPABILITIES_BY_NAME = (
    (r"RTX PRO \d+.*Blackwell|RTX 50[5-9]0", "12.0"),
    (r"G?B300", "10.3"),
    (r"G?B[12]00", "10.0"),
    (r"G?H[128]00|H20|H800", "9.0"),
    (r"RTX 40[5-9]0 ?D?|RTX \d+.*Ada|L40S?|L20|L4|L2", "8.9"),
    (r"A100|A800|A30", "8.0"),
    (r"RTX 30[5-9]0|RTX A\d{3,4}|A40|A10[GM]?|A16|A2|A[2456]\d00", "8.6"),
    (r"V100S?|TITAN V|GV100", "7.0"),
    (r"RTX 20\d\d|GTX 16\d\d|T4G?|T\d{3,4}|TITAN RTX|Quadro RTX \d+", "7.5"),
    (r"P100", "6.0"),
    (r"GTX 10\d\d|P40?|P6|TITAN Xp?|Quadro P\d+", "6.1"),
    (r"M40|M60|M6|GTX 9\d\d", "5.2"),
)


def capability_by_name(name: str) -> str | None:
    """Compute capability such as "8.6", guessed from the card's name; None when unknown."""
    for pattern, capability in CAPABILITIES_BY_NAME:
        if re.search(rf"(?<![A-Za-z0-9])({pattern})(?![A-Za-z0-9])", name):
            return capability
    return None


def facts_without_gpu(reason: str) -> dict[str, Any]:
    """The facts of a box without a usable GPU."""
    return {"present": False, "reason": reason, "driver": None, "gpus": []}


def find_nvidia_smi(nvidia_smi: str) -> str | None:
    """Path of the program, None when it is not there."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SEARCH_DIRECTORIES])
    return shutil.which(os.path.expanduser(nvidia_smi), path=path)


def describe_failure(done: Completed) -> str:
    """What nvidia-smi complains about, in a sentence of ours where the complaint is a known one."""
    output = " ".join((done.out + "\n" + done.err).split())
    low = output.lower()
    if "no devices were found" in low:
        return f"nvidia-smi finds no GPU (an instance in no-GPU mode, or a container without one): {output}"
    if "version mismatch" in low:
        return f"The driver's library and its kernel module have different versions; restart the machine: {output}"
    if "couldn't communicate" in low or "failed to initialize nvml" in low or "driver not loaded" in low:
        return f"nvidia-smi does not reach the NVIDIA driver: {output}"
    return output or f"nvidia-smi ended with status {done.rc} and said nothing"


def parse_gpu_query(text: str) -> dict[str, Any]:
    """The facts in the CSV of a query for FIELDS, or for all of them but the last."""
    gpus: list[dict[str, Any]] = []
    driver = None
    lost = []
    for row in csv.reader(io.StringIO(text), skipinitialspace=True):
        row = [cell.strip() for cell in row]
        if len(row) < 4 or not row[0].isdigit():
            continue
        if re.match(r"^\[?(GPU is lost|Unknown Error)", row[1]):
            lost.append(row[0])
            continue
        reported = row[4] if len(row) > 4 and re.match(r"^\d+\.\d+$", row[4]) else None
        memory = re.match(r"^\d+", row[2])
        gpus.append(
            {
                "index": int(row[0]),
                "name": row[1],
                "memory_mb": int(memory.group()) if memory else None,
                "capability": reported or capability_by_name(row[1]),
            }
        )
        if re.match(r"^\d", row[3]):
            driver = row[3]
    trouble = "nvidia-smi has lost GPU {}; restart the machine".format(", ".join(lost)) if lost else ""
    if not gpus:
        return facts_without_gpu(trouble or text.strip())
    return {"present": True, "reason": trouble, "driver": driver, "gpus": gpus}


def read_gpu_facts(nvidia_smi: str = "nvidia-smi") -> dict[str, Any]:
    """``{present, reason, driver, gpus: [{index, name, memory_mb, capability}]}``; never raises for a missing GPU.

    ``reason`` says why there is none, or which one of several is lost; else it is an empty string.
    """
    program = find_nvidia_smi(nvidia_smi)
    if not program:
        return facts_without_gpu(f"{nvidia_smi} is not installed")
    try:
        done = run([program, "--query-gpu=" + ",".join(QUERY_FIELDS), "--format=csv,noheader,nounits"], timeout=60)
        if done.rc != 0 and "compute_cap" in done.out + done.err:
            done = run(
                [program, "--query-gpu=" + ",".join(QUERY_FIELDS[:-1]), "--format=csv,noheader,nounits"], timeout=60
            )
    except SdopsError as exc:
        return facts_without_gpu(str(exc))
    if done.rc != 0:
        return facts_without_gpu(describe_failure(done))
    facts = parse_gpu_query(done.out)
    if not facts["present"] and not facts["reason"].startswith("nvidia-smi has lost"):
        facts["reason"] = describe_failure(done)
    return facts


def read_gpu_usage(nvidia_smi: str = "nvidia-smi") -> list[dict[str, Any]]:
    """``[{index, name, memory_used (bytes), memory_total (bytes), utilization (percent)}]``, None for what is not reported.

    Empty where there is no GPU; :func:`read_gpu_facts` says why.
    """
    program = find_nvidia_smi(nvidia_smi)
    if not program:
        return []
    try:
        done = run([program, "--query-gpu=" + ",".join(USAGE_FIELDS), "--format=csv,noheader,nounits"], timeout=60)
    except SdopsError:
        return []
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(done.out), skipinitialspace=True)]
    found = []
    for row in rows if done.rc == 0 else []:
        if len(row) == len(USAGE_FIELDS) and row[0].isdigit():
            used, total, share = (int(cell) if cell.isdigit() else None for cell in row[2:])
            found.append(
                {
                    "index": int(row[0]),
                    "name": row[1],
                    "memory_used": None if used is None else used << 20,
                    "memory_total": None if total is None else total << 20,
                    "utilization": share,
                }
            )
    return found
