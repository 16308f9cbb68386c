"""sdops lab fake of torch.cuda: what nvidia-smi says about the graphics cards ($SDOPS_NVIDIA_SMI, else the PATH)."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from typing import NamedTuple

__fake__ = True

# where a driver is too old to report the compute capability
CAPABILITIES = {
    "V100": (7, 0),
    "T4": (7, 5),
    "RTX 20": (7, 5),
    "A100": (8, 0),
    "A5000": (8, 6),
    "A6000": (8, 6),
    "A40": (8, 6),
    "RTX 30": (8, 6),
    "L20": (8, 9),
    "L40": (8, 9),
    "RTX 40": (8, 9),
    "H100": (9, 0),
    "H200": (9, 0),
    "H20": (9, 0),
    "B200": (10, 0),
    "RTX 50": (12, 0),
}


class Device(NamedTuple):
    """A card; ``total_memory`` and ``free_memory`` in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    free_memory: int


def _query(*fields: str) -> list[list[str]]:
    """One list of values per card; [] when nvidia-smi is absent, fails or does not know a field."""
    program = os.environ.get("SDOPS_NVIDIA_SMI") or shutil.which("nvidia-smi")
    if not program:
        return []
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf8", timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    return [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def _number(text: str) -> int:
    """MiB as bytes, whether or not the unit is there."""
    found = re.match(r"\d+", text)
    return int(found.group()) << 20 if found else 0


def _capability(name: str, reported: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)\.(\d+)", reported)
    if found:
        return int(found.group(1)), int(found.group(2))
    known = [capability for part, capability in CAPABILITIES.items() if re.search(rf"\b{part}", name)]
    return known[0] if known else (8, 6)


@functools.lru_cache(maxsize=None)
def _devices() -> tuple[Device, ...]:
    rows = _query("name", "compute_cap", "memory.total", "memory.free")
    if not rows:
        rows = [[name, "", total, total] for name, total in _query("name", "memory.total")]
    found = tuple(
        Device(name, *_capability(name, reported), _number(total), _number(free))
        for name, reported, total, free in (row for row in rows if len(row) == 4)
    )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    numbers = [int(part) for part in visible.split(",") if part.strip().isdigit()]
    return tuple(found[number] for number in numbers if number < len(found))


def is_available() -> bool:
    return bool(_devices())


def device_count() -> int:
    return len(_devices())


def current_device() -> int:
    get_device_properties(0)
    return 0


def get_device_properties(device: int = 0) -> Device:
    devices = _devices()
    if not devices:
        raise RuntimeError("Found no NVIDIA driver on your system (sdops lab fake: nvidia-smi names no card)")
    return devices[device or 0]


def get_device_name(device: int = 0) -> str:
    return get_device_properties(device).name


def get_device_capability(device: int = 0) -> tuple[int, int]:
    card = get_device_properties(device)
    return card.major, card.minor


def get_arch_list() -> list[str]:
    """The architectures of the cu121 wheels of 2.1.2."""
    return ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"] if is_available() else []


def mem_get_info(device: int = 0) -> tuple[int, int]:
    card = get_device_properties(device)
    return card.free_memory, card.total_memory
