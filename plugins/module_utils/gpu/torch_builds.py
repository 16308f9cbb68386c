# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of torch has kernels for the GPUs of a box."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from ..errors import SdopsError


class NoBuild(SdopsError):
    """No build of the table has kernels for these GPUs."""


def numbers(capability: str) -> Tuple[int, int]:
    """ "8.6" -> (8, 6)."""
    major, _, minor = str(capability).partition(".")
    return int(major), int(minor or 0)


def serves(build: Dict[str, Any], capability: str) -> bool:
    """Whether ``build`` runs on ``capability``: not older than its oldest, and of a generation it knows.

    Code for 8.0 runs on 8.6 and 8.9 too, but never on another major number (CUDA's rule of binary compatibility).
    """
    have = numbers(capability)
    return numbers(build["oldest"]) <= have and have[0] <= numbers(build["newest"])[0]


def choose(builds: Sequence[Dict[str, Any]], device: str, capabilities: Sequence[str]) -> Dict[str, Any]:
    """The first of ``builds`` that serves all GPUs, with ``packages`` (requirement strings), ``exact`` (the same with the
    build's label, as PyTorch's own indexes have them) and ``reason`` added.

    A build is ``{"build": "cu121", "torch": "2.1.2", "torchvision": "0.16.2", "oldest": "5.0", "newest": "9.0"}``; the one
    for CPUs is called "cpu" and has no capabilities. ``device`` is auto, cuda or cpu. Without known GPUs the first build is
    taken. Raises NoBuild.
    """
    cpu = [b for b in builds if b["build"] == "cpu"]
    cuda = [b for b in builds if b["build"] != "cpu"]
    if device == "cpu":
        if not cpu:
            raise NoBuild("No build of torch for CPUs is known for this WebUI. Name one in sd_webui_torch_packages.")
        return _answer(cpu[0], "the CPU was asked for")
    if not cuda:
        raise NoBuild("No build of torch for CUDA is known for this WebUI. Name one in sd_webui_torch_packages.")
    cards: List[str] = sorted(set(map(str, capabilities)))
    if not cards:
        return _answer(cuda[0], "no GPU is visible, so it is the usual build (sdops_gpu_capabilities promises another)")
    for build in cuda:
        if all(serves(build, card) for card in cards):
            return _answer(build, "it has kernels for compute capability %s" % ", ".join(cards))
    known = ", ".join("torch %s %s (%s to %s)" % (b["torch"], b["build"], b["oldest"], b["newest"]) for b in cuda)
    raise NoBuild(
        "No build of torch that this WebUI works with has kernels for compute capability %s. There are: %s. Take another "
        "GPU or another sd_webui_version, name a build of your own in sd_webui_torch_packages and sd_webui_torch_index_url, "
        "or set sdops_device: cpu." % (", ".join(cards), known)
    )


def _answer(build: Dict[str, Any], reason: str) -> Dict[str, Any]:
    packages = ["%s==%s" % (name, build[name]) for name in ("torch", "torchvision")]
    return {**build, "packages": packages, "exact": [p + "+" + build["build"] for p in packages], "reason": reason}
