# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which xformers fits a torch, CUDA, Python and GPU: a table and a pure function over it.

Source of the table: METADATA and cpp_lib.json of the published wheels, and the project's changelog.
"""

from __future__ import annotations

import re
from typing import Dict, NamedTuple, Optional, Tuple


class Wheel(NamedTuple):
    """A published xformers: the torch it was built against, the CUDA of the package index's wheel, newest Python."""

    xformers: str
    torch: str
    cuda: str
    python_max: Tuple[int, int]


# for each torch the newest xformers built against it
WHEELS = (
    Wheel("0.0.16", "1.13.1", "11.7", (3, 10)),
    Wheel("0.0.19", "2.0.0", "11.8", (3, 10)),
    Wheel("0.0.20", "2.0.1", "11.8", (3, 11)),
    Wheel("0.0.22.post7", "2.1.0", "12.1", (3, 11)),
    Wheel("0.0.23", "2.1.1", "12.1", (3, 11)),
    Wheel("0.0.23.post1", "2.1.2", "12.1", (3, 11)),
    Wheel("0.0.24", "2.2.0", "12.1", (3, 11)),
    Wheel("0.0.25", "2.2.1", "12.1", (3, 11)),
    Wheel("0.0.25.post1", "2.2.2", "12.1", (3, 11)),
    Wheel("0.0.26.post1", "2.3.0", "12.1", (3, 11)),
    Wheel("0.0.27", "2.3.1", "12.1", (3, 12)),
    Wheel("0.0.27.post2", "2.4.0", "12.1", (3, 12)),
    Wheel("0.0.28.post1", "2.4.1", "12.1", (3, 12)),
    Wheel("0.0.28.post2", "2.5.0", "12.1", (3, 12)),
    Wheel("0.0.29.post1", "2.5.1", "12.1", (3, 12)),
    Wheel("0.0.29.post3", "2.6.0", "12.4", (3, 12)),
    Wheel("0.0.30", "2.7.0", "12.6", (3, 12)),
    Wheel("0.0.31.post1", "2.7.1", "12.6", (3, 99)),
    Wheel("0.0.32.post2", "2.8.0", "12.8", (3, 99)),
    Wheel("0.0.33", "2.9.0", "12.8", (3, 99)),
    Wheel("0.0.33.post2", "2.9.1", "12.8", (3, 99)),
    Wheel("0.0.34", "2.10.0", "12.8", (3, 99)),
)


class Plan(NamedTuple):
    """``decision`` is none_needed, wheel, build or skip; ``requirement`` and ``index_hint`` belong to wheel."""

    decision: str
    reason: str
    requirement: Optional[str] = None
    index_hint: Optional[str] = None


def torch_base(version: str) -> str:
    """ "2.1.2+cu121" -> "2.1.2"."""
    return version.split("+")[0]


def torch_cuda(version: str) -> Optional[str]:
    """CUDA version that torch's local version label tells, "12.1" for "+cu121"; None when it tells none."""
    match = re.search(r"\+cu(\d+)(\d)$", version)
    return "%s.%s" % match.groups() if match else None


def resolve(
    torch: Optional[str],
    cuda: Optional[str],
    python: str,
    capability: Optional[str] = None,
    installed: Optional[str] = None,
    wanted: str = "auto",
) -> Plan:
    """Decide.

    ``torch`` "2.1.2+cu121" or None, ``cuda`` "12.1" or None for a CPU build, ``python`` "3.10.6", ``capability`` of the
    GPU "8.6" or None when there is none now, ``installed`` xformers version, ``wanted`` "auto" or a version.
    """
    if not torch:
        return Plan("skip", "torch is not installed yet.")
    base = torch_base(torch)
    if cuda is None:
        return Plan("skip", "torch %s is a CPU build, for which there is no use for xformers." % torch)
    fitting = [w for w in WHEELS if w.torch == base]
    if capability is not None and fitting:
        major = int(capability.split(".")[0])
        if major >= 12 and tuple(map(int, base.split(".")[:2])) < (2, 7):
            return Plan(
                "skip",
                "this GPU (compute capability %s) needs torch 2.7 or newer built for CUDA 12.8; torch is %s."
                % (capability, torch),
            )
        if major < 8 and capability < "7.5" and tuple(map(int, base.split(".")[:3])) >= (2, 7, 1):
            return Plan("build", "xformers for torch %s has no kernels for compute capability %s." % (base, capability))
    version = wanted if wanted != "auto" else (fitting[-1].xformers if fitting else None)
    if installed and installed == version:
        return Plan("none_needed", "xformers %s is installed and fits torch %s." % (installed, torch))
    if version is None:
        return Plan("build", "no published xformers was built against torch %s." % base)
    if wanted != "auto" and not any(w.xformers == wanted for w in fitting):
        return Plan("build", "xformers %s was not published for torch %s." % (wanted, base))
    wheel = next(w for w in fitting if w.xformers == version)
    if tuple(map(int, python.split(".")[:2])) > wheel.python_max:
        return Plan("build", "xformers %s has no wheel for Python %s." % (version, python))
    hint = None
    if cuda != wheel.cuda:
        hint = "https://download.pytorch.org/whl/cu" + cuda.replace(".", "")
    return Plan(
        "wheel",
        "xformers %s was built against torch %s." % (version, base),
        "xformers==" + version,
        hint,
    )


def as_dict(plan: Plan) -> Dict[str, Optional[str]]:
    return dict(plan._asdict())
