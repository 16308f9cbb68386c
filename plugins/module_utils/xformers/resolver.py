# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which xformers fits a torch, CUDA, Python and GPU: a table and a pure function over it.

Source of the table: METADATA and cpp_lib.json of the published wheels, and the project's changelog and README.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Sequence

PYTORCH_INDEX = "https://download.pytorch.org/whl"


class PublishedRelease(NamedTuple):
    """The published xformers for one torch.

    ``versions``: all of them; ``best``: the one to take; ``cuda``: that of the wheels on the normal package index, None
    where they do not depend on it; ``elsewhere``: more CUDA versions, on PyTorch's own index; ``python``: oldest, newest.
    """

    torch: str
    versions: tuple[str, ...]
    best: str
    cuda: str | None
    elsewhere: tuple[str, ...]
    python: tuple[tuple[int, int], tuple[int, int]]


ANY = (3, 999)  # built for the stable ABI
TABLE = (
    PublishedRelease("1.13.1", ("0.0.16",), "0.0.16", "11.7", (), ((3, 7), (3, 10))),
    PublishedRelease("2.0.0", ("0.0.17", "0.0.18", "0.0.19"), "0.0.19", "11.8", (), ((3, 8), (3, 10))),
    # 0.0.20 is what the WebUI of that time pins
    PublishedRelease("2.0.1", ("0.0.20", "0.0.21", "0.0.22"), "0.0.20", "11.8", (), ((3, 8), (3, 11))),
    PublishedRelease("2.1.0", ("0.0.22.post7",), "0.0.22.post7", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.1.1", ("0.0.23",), "0.0.23", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.1.2", ("0.0.23.post1",), "0.0.23.post1", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.2.0", ("0.0.24",), "0.0.24", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.2.1", ("0.0.25",), "0.0.25", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.2.2", ("0.0.25.post1",), "0.0.25.post1", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.3.0", ("0.0.26.post1",), "0.0.26.post1", "12.1", ("11.8",), ((3, 8), (3, 11))),
    PublishedRelease("2.3.1", ("0.0.27",), "0.0.27", "12.1", ("11.8",), ((3, 8), (3, 12))),
    PublishedRelease("2.4.0", ("0.0.27.post1", "0.0.27.post2"), "0.0.27.post2", "12.1", ("11.8",), ((3, 8), (3, 12))),
    PublishedRelease("2.4.1", ("0.0.28", "0.0.28.post1"), "0.0.28.post1", "12.1", ("11.8",), ((3, 8), (3, 12))),
    PublishedRelease("2.5.0", ("0.0.28.post2",), "0.0.28.post2", "12.1", ("11.8",), ((3, 8), (3, 12))),
    PublishedRelease(
        "2.5.1", ("0.0.28.post3", "0.0.29", "0.0.29.post1"), "0.0.29.post1", "12.1", ("11.8",), ((3, 8), (3, 12))
    ),
    PublishedRelease("2.6.0", ("0.0.29.post2", "0.0.29.post3"), "0.0.29.post3", "12.4", ("11.8",), ((3, 8), (3, 12))),
    PublishedRelease("2.7.0", ("0.0.30",), "0.0.30", "12.6", ("11.8", "12.8"), ((3, 9), (3, 12))),
    PublishedRelease("2.7.1", ("0.0.31", "0.0.31.post1"), "0.0.31.post1", "12.6", ("11.8", "12.8"), ((3, 9), ANY)),
    PublishedRelease("2.8.0", ("0.0.32.post1", "0.0.32.post2"), "0.0.32.post2", "12.8", ("12.6",), ((3, 9), ANY)),
    PublishedRelease("2.9.0", ("0.0.33", "0.0.33.post1"), "0.0.33.post1", "12.8", ("12.6",), ((3, 9), ANY)),
    PublishedRelease("2.9.1", ("0.0.33.post2",), "0.0.33.post2", "12.8", ("12.6",), ((3, 9), ANY)),
    PublishedRelease("2.10.0", ("0.0.34", "0.0.35"), "0.0.34", None, (), ((3, 9), ANY)),
)
# does not depend on the version of torch any more, from this torch on
NEWEST, NEWEST_TORCH = "0.0.35", (2, 10)


class Plan(NamedTuple):
    """What to do. ``decision`` is one of

    none_needed  an xformers that fits is installed
    wheel        ``requirement`` from ``index_hint``, or from the normal package index where that is None
    build        none was published for this combination, but its sources may be built; ``requirement`` says which, if known
    unsupported  no xformers can work with this torch on this GPU
    skip         xformers is of no use here
    unknown      the environment cannot be inspected yet
    """

    decision: str
    reason: str
    requirement: str | None = None
    index_hint: str | None = None


def torch_base(version: str) -> str:
    """ "2.1.2+cu121" -> "2.1.2"."""
    return version.split("+")[0]


def torch_cuda(version: str) -> str | None:
    """CUDA version that torch's local version label tells, "12.1" for "+cu121"; None when it tells none."""
    match = re.search(r"\+cu(\d+)(\d)$", version)
    return "{}.{}".format(*match.groups()) if match else None


def numbers(version: str) -> tuple[int, ...]:
    """ "2.10.0a1" -> (2, 10, 0): the leading numbers, for comparisons."""
    match = re.match(r"^\d+(\.\d+)*", version)
    return tuple(int(n) for n in match.group().split(".")) if match else ()


def torch_index_url(cuda: str, base: str = PYTORCH_INDEX) -> str:
    return "{}/cu{}".format(base.rstrip("/"), cuda.replace(".", ""))


class Installed(NamedTuple):
    """The xformers that is there.

    ``torch``: the one that its metadata asks for, None where that names none. ``made`` is what was written down when it was
    installed, ``{"version", "torch", "cuda", "capabilities"}`` (the last one: those that it was built for here, empty for a
    published wheel), or None where nobody knows.
    """

    version: str
    torch: str | None = None
    made: dict[str, Any] | None = None


def _is_suitable(
    installed: Installed, torch: str, cuda: str, capabilities: Sequence[str], published: Sequence[str]
) -> bool:
    """Whether the installed xformers will do. Its metadata names neither CUDA nor GPUs; the state file does."""
    version_number, base, made = torch_base(installed.version), torch_base(torch), installed.made
    if made and made["version"] == version_number:
        built_for = made["capabilities"]
        covered = all(any(covers(b, c) for b in built_for) for c in capabilities) if built_for else True
        return (made["torch"], made["cuda"]) == (base, cuda) and covered
    return installed.torch == base if installed.torch else version_number in published


def covers(built_for: str, capability: str) -> bool:
    """Whether code for ``built_for`` runs on ``capability``: the same generation, and not older."""
    return numbers(built_for)[:1] == numbers(capability)[:1] and numbers(built_for) <= numbers(capability)


def _gpu_trouble(torch: str, cuda: str, capabilities: Sequence[str], index: str) -> Plan | None:
    """A plan when the GPU alone decides."""
    base = numbers(torch_base(torch))
    for capability in capabilities:
        have = numbers(capability)
        if have >= (10,) and (base < (2, 7) or numbers(cuda) < (12, 8)):
            return Plan(
                "unsupported",
                "this GPU (compute capability {}) needs torch 2.7 or newer built for CUDA 12.8 or newer, and torch is {} "
                "for CUDA {}. Take torch 2.7.0 from {}.".format(
                    capability, torch, cuda, torch_index_url("12.8", index)
                ),
            )
        if have < (7, 5) and base >= (2, 7, 1):
            return Plan(
                "build",
                f"the published xformers for torch {torch_base(torch)} have no kernels for compute capability {capability}.",
            )
    return None


def resolve(
    torch: str | None,
    cuda: str | None,
    python: str,
    capabilities: Sequence[str] = (),
    installed: Installed | None = None,
    requested: str = "auto",
    index: str = PYTORCH_INDEX,
) -> Plan:
    """Decide.

    ``torch`` "2.1.2+cu121" or None, ``cuda`` "12.1" or None for a CPU build, ``python`` "3.10.6", ``capabilities`` of the
    GPUs (["8.6"]; none where there is no GPU now, which changes nothing), ``installed`` xformers, ``requested`` "auto" or a
    version, ``index`` base URL of PyTorch's indexes.
    """
    if not torch:
        return Plan("unknown", "torch is not installed in this environment yet: run the role sd_webui first.")
    base = torch_base(torch)
    if cuda is None:
        return Plan("skip", f"torch {torch} is a CPU build, for which there is no use for xformers.")
    rows = [r for r in TABLE if r.torch == base]
    row = rows[0] if rows else None
    free = numbers(base)[:2] >= NEWEST_TORCH
    version = requested if requested != "auto" else row.best if row else NEWEST if free else None
    published = (row.versions if row else ()) + ((NEWEST,) if free else ())

    trouble = _gpu_trouble(torch, cuda, capabilities, index)
    if trouble and trouble.decision == "unsupported":
        return trouble
    # one built here carries a label behind its version: 0.0.23.post1+1a2b3c4.d20240101
    if installed and requested in ("auto", torch_base(installed.version)):
        is_suitable = _is_suitable(installed, torch, cuda, capabilities, published)
        # a published one that lacks this GPU's kernels lacks them when it is installed, too
        lacking = trouble and installed.made and not installed.made["capabilities"]
        if is_suitable and not lacking:
            return Plan("none_needed", f"xformers {installed.version} is installed and fits torch {torch}.")
    if trouble:
        return trouble._replace(requirement="xformers==" + version if version else None)
    if version is None:
        return Plan("build", f"no published xformers was built against torch {base}.")
    requirement = "xformers==" + version
    if version not in published:
        return Plan("build", f"xformers {version} was not published for torch {base}.", requirement)
    if row is None or version == NEWEST:
        return Plan("wheel", "xformers {} works with torch {} and newer.".format(version, "2.10"), requirement)
    oldest, newest = row.python
    if not oldest <= numbers(python)[:2] <= newest:
        return Plan("build", f"xformers {version} has no wheel for Python {python}.", requirement)
    reason = f"xformers {version} was built against torch {base}"
    if row.cuda is None:
        return Plan("wheel", reason + ".", requirement)
    reason += f" and CUDA {cuda}."
    if cuda == row.cuda:
        return Plan("wheel", reason, requirement)
    if cuda in row.elsewhere:
        return Plan("wheel", reason, requirement, torch_index_url(cuda, index))
    return Plan(
        "build",
        "xformers {} was published for CUDA {}, but torch {} is built for CUDA {}. With torch from {} no build is needed.".format(
            version, " and ".join([row.cuda, *row.elsewhere]), torch, cuda, torch_index_url(row.cuda, index)
        ),
        requirement,
    )


def torch_required(requires: list[str]) -> str | None:
    """The one torch that an installed xformers asks for in its metadata ("torch==2.1.2"), None when it is not one."""
    for line in requires:
        match = re.match(r"^torch\s*\(?\s*==\s*([0-9][0-9A-Za-z.]*)", line)
        if match:
            return match.group(1)
    return None


def as_dict(plan: Plan) -> dict[str, str | None]:
    return dict(plan._asdict())
