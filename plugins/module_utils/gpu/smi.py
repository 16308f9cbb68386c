# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU facts from ``nvidia-smi``, for boxes with none, one or many GPUs, and for broken drivers."""

from __future__ import annotations

import csv
import io
import shutil
from typing import Any, Dict, List, Optional

from ..errors import SdopsError
from ..process import run

FIELDS = ["index", "name", "memory.total", "driver_version", "compute_cap"]

# for drivers older than 510, whose nvidia-smi has no compute_cap (source: NVIDIA's table of CUDA GPUs)
CAPABILITIES = {
    "V100": "7.0",
    "T4": "7.5",
    "RTX 20": "7.5",
    "A100": "8.0",
    "A5000": "8.6",
    "A6000": "8.6",
    "A40": "8.6",
    "RTX 30": "8.6",
    "RTX 40": "8.9",
    "L40": "8.9",
    "L20": "8.9",
    "H100": "9.0",
    "H200": "9.0",
    "H20": "9.0",
    "B200": "10.0",
    "RTX 50": "12.0",
}


def capability_by_name(name: str) -> Optional[str]:
    """Compute capability such as "8.6", guessed from the card's name; None when unknown."""
    matches = [key for key in CAPABILITIES if key in name]
    return CAPABILITIES[max(matches, key=len)] if matches else None


def absent(reason: str) -> Dict[str, Any]:
    return {"present": False, "reason": reason, "driver": None, "gpus": []}


def read(nvidia_smi: str = "nvidia-smi") -> Dict[str, Any]:
    """``{present, reason, driver, gpus: [{index, name, memory_mb, capability}]}``; never raises for a missing GPU.

    ``reason`` says why there is none; it is an empty string when there is one.
    """
    program = shutil.which(nvidia_smi)
    if not program:
        return absent("%s is not installed" % nvidia_smi)
    for fields in (FIELDS, FIELDS[:-1]):
        try:
            done = run([program, "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits"], timeout=60)
        except SdopsError as exc:
            return absent(str(exc))
        if done.rc == 0:
            break
    else:
        return absent(done.tail(2) or "nvidia-smi failed with status %d" % done.rc)
    gpus: List[Dict[str, Any]] = []
    driver = None
    for row in csv.reader(io.StringIO(done.out), skipinitialspace=True):
        if len(row) < 4:
            continue
        capability = row[4] if len(row) > 4 and row[4].replace(".", "").isdigit() else capability_by_name(row[1])
        memory = row[2].split()[0] if row[2] else ""
        gpus.append(
            {
                "index": int(row[0]),
                "name": row[1],
                "memory_mb": int(memory) if memory.isdigit() else None,
                "capability": capability,
            }
        )
        driver = row[3]
    if not gpus:
        return absent(done.tail(2) or "nvidia-smi lists no GPU")
    return {"present": True, "reason": "", "driver": driver, "gpus": gpus}
