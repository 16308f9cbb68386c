# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of torch the GPUs and the NVIDIA driver of a host can use."""

from __future__ import annotations

import re
from typing import Any, Sequence

from ..errors import NoTorchBuildError

# Oldest Linux driver for the builds of a CUDA toolkit. From 11 on it is one for all minor versions of a major one.
# Source: NVIDIA, CUDA Compatibility, "Minor Version Compatibility", and CUDA Toolkit Release Notes, "CUDA Toolkit and Minimum
# Required Driver Version for CUDA Minor Version Compatibility". Forward compatibility packages (cuda-compat) are not counted.
OLDEST_DRIVERS = {"10.2": "440.33", "11": "450.80.02", "12": "525.60.13", "13": "580"}

# Driver branch that first knew a GPU, by its compute capability: the one of the first CUDA toolkit that could build for it
# (11.8, 12.8, 12.9). Older GPUs are known to every driver that the builds need anyway.
# Source: CUDA Toolkit Release Notes, "CUDA Toolkit and Corresponding Driver Versions".
FIRST_DRIVERS = {"8.9": "520", "9.0": "520", "10.0": "570", "10.3": "575", "12.0": "570", "12.1": "575"}


def parse_capability(capability: str) -> tuple[int, int]:
    """ "8.6" -> (8, 6)."""
    major, _dot, minor = str(capability).partition(".")
    return int(major), int(minor or 0)


def supports_capability(build: dict[str, Any], capability: str) -> bool:
    """Whether ``build`` runs on ``capability``: not older than its oldest, and of a generation it knows.

    Code for 8.0 runs on 8.6 and 8.9 too, but never on another major number (CUDA's rule of binary compatibility).
    """
    have = parse_capability(capability)
    return parse_capability(build["oldest"]) <= have and have[0] <= parse_capability(build["newest"])[0]


def required_driver(build: dict[str, Any], capabilities: Sequence[str]) -> str:
    """The oldest driver, such as "525.60.13", with which ``build`` runs on these GPUs; "" where none is known to be too old."""
    label = re.match(r"^cu(\d+)(\d)$", str(build["build"]))
    major, minor = label.groups() if label else ("", "")
    drivers = [OLDEST_DRIVERS.get(major + "." + minor) or OLDEST_DRIVERS.get(major, "")]
    drivers += [FIRST_DRIVERS.get(str(capability), "") for capability in capabilities]
    return max(drivers, key=lambda driver: parse_driver_version(driver) or ())


def parse_driver_version(driver: str | None) -> tuple[int, ...] | None:
    """ "535.183.01" -> (535, 183, 1); None for what does not begin like a version."""
    found = re.match(r"^\s*(\d+(?:\.\d+)*)", driver or "")
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def is_driver_sufficient(driver: str | None, required: str) -> bool:
    """Whether ``driver`` is not known to be older than ``required``. "525" says nothing against "525.60.13"."""
    have, need = parse_driver_version(driver), parse_driver_version(required)
    return not have or not need or have >= need[: len(have)]


def select_build(
    builds: Sequence[dict[str, Any]], device: str, capabilities: Sequence[str], driver: str | None = None
) -> dict[str, Any]:
    """The first of ``builds`` that serves all GPUs and that the driver can run, with ``packages`` (requirement strings),
    ``exact`` (the same with the build's label, as PyTorch's own indexes have them) and ``reason`` added.

    A build is ``{"build": "cu121", "torch": "2.1.2", "torchvision": "0.16.2", "oldest": "5.0", "newest": "9.0"}``; the one
    for CPUs is called "cpu" and has no capabilities. ``device`` is auto, cuda or cpu. Without known GPUs the first build that
    the driver can run is taken; a driver that is not known (None, "", "N/A") rules nothing out. Raises NoTorchBuildError.
    """
    cpu = [b for b in builds if b["build"] == "cpu"]
    cuda = [b for b in builds if b["build"] != "cpu"]
    if device == "cpu":
        if not cpu:
            raise NoTorchBuildError(
                "No build of torch for CPUs is known for this WebUI. Name one in sd_webui_torch_packages."
            )
        return _answer(cpu[0], "the CPU was asked for")
    if not cuda:
        raise NoTorchBuildError(
            "No build of torch for CUDA is known for this WebUI. Name one in sd_webui_torch_packages."
        )
    cards: list[str] = sorted(set(map(str, capabilities)))
    serving = [build for build in cuda if all(supports_capability(build, card) for card in cards)]
    if not serving:
        known = ", ".join("{} ({} to {})".format(_name(b), b["oldest"], b["newest"]) for b in cuda)
        raise NoTorchBuildError(
            "No build of torch that this WebUI works with has kernels for compute capability {}. There are: {}. Take another "
            "GPU or another sd_webui_version, name a build of your own in sd_webui_torch_packages and "
            "sd_webui_torch_index_url, or set sdops_device: cpu.".format(", ".join(cards), known)
        )
    usable = [build for build in serving if is_driver_sufficient(driver, required_driver(build, cards))]
    if not usable:
        known = ", ".join(f"{_name(b)} needs {required_driver(b, cards)} or newer" for b in serving)
        unknown = any(not is_driver_sufficient(driver, FIRST_DRIVERS.get(card, "")) for card in cards)
        raise NoTorchBuildError(
            "The NVIDIA driver {} of this host is too old{}: {}. Take a host with a newer driver (a container has the driver "
            "of its host, and nothing inside changes that), {}or set sdops_device: cpu.".format(
                driver,
                " for compute capability {}".format(", ".join(cards)) if cards else "",
                known,
                "" if unknown else "name a build of your own in sd_webui_torch_packages and sd_webui_torch_index_url, ",
            )
        )
    if not cards:
        reason = "no GPU is visible, so it is the usual build (sdops_gpu_capabilities promises another)"
        if parse_driver_version(driver):
            reason = "the compute capability of the GPU is not known (sdops_gpu_capabilities says it)"
    else:
        reason = "it has kernels for compute capability {}".format(", ".join(cards))
    skipped = serving[: serving.index(usable[0])]
    if skipped:
        reason += f", and the driver {driver} is too old for {_name(skipped[0])}, which needs {required_driver(skipped[0], cards)}"
    return _answer(usable[0], reason)


def _name(build: dict[str, Any]) -> str:
    return "torch {} {}".format(build["torch"], build["build"])


def _answer(build: dict[str, Any], reason: str) -> dict[str, Any]:
    packages = [f"{name}=={build[name]}" for name in ("torch", "torchvision")]
    return {**build, "packages": packages, "exact": [p + "+" + build["build"] for p in packages], "reason": reason}
