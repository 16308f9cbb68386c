# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment says about its torch and xformers, without importing either where that can be avoided."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import PythonEnvError
from ..python_env.environment import inspect_environment, run_probe
from .resolver import torch_cuda, torch_required

# torch/version.py is a few assignments: run alone it tells in milliseconds what importing torch tells in seconds
CUDA_PROBE = r"""
import importlib.util, json, os, runpy, sys
found = {}
try:
    spec = importlib.util.find_spec("torch")
    found = runpy.run_path(os.path.join(list(spec.submodule_search_locations)[0], "version.py"))
    if "cuda" not in found:
        raise LookupError
except Exception:
    import torch
    found = vars(torch.version)
print(json.dumps({"cuda": found.get("cuda"), "hip": found.get("hip")}))
"""


class TorchFacts(NamedTuple):
    """``torch`` "2.1.2+cu121", ``cuda`` "12.1" (None: CPU build), ``hip`` for AMD, versions of Python and xformers.

    ``xformers_torch`` is the torch that the installed xformers was built for, ``trouble`` why torch's CUDA is not known.
    """

    python: str | None
    torch: str | None
    cuda: str | None
    hip: str | None
    xformers: str | None
    xformers_torch: str | None
    trouble: str | None = None


def inspect_torch(python: str) -> TorchFacts:
    """Ask the interpreter ``python``. Raises PythonEnvError when it does not run."""
    state = inspect_environment(python)
    found: dict[str, Any] = state["distributions"]
    # what a cut installation has left is not there
    xformers, torch = (found.get(n) if found.get(n, {}).get("complete") else None for n in ("xformers", "torch"))
    facts = TorchFacts(
        state["python"],
        torch["version"] if torch else None,
        None,
        None,
        xformers["version"] if xformers else None,
        torch_required(xformers["requires"]) if xformers else None,
    )
    if not facts.torch or "+cpu" in facts.torch:
        return facts
    cuda = torch_cuda(facts.torch)
    if cuda:
        return facts._replace(cuda=cuda)
    # the package index's own builds carry no label
    try:
        version = run_probe(python, CUDA_PROBE, "its torch")
    except PythonEnvError as exc:
        return facts._replace(trouble=str(exc))
    return facts._replace(cuda=version["cuda"], hip=version["hip"])
