"""``python -m xformers.info``: the table of the original, filled by the sdops lab fake."""

from __future__ import annotations

import platform
import sys

import torch

import xformers

OPERATORS = ("cutlassF", "cutlassB", "decoderF", "flshattF@v2.3.6", "flshattB@v2.3.6", "smallkF", "smallkB")


def collect() -> dict[str, str]:
    is_compatible, gpu = xformers.is_compatible(), torch.cuda.is_available()
    rows = {"fake": "sdops lab fake, not the real xformers"}
    # without code for the card the original still has what Triton compiles, and what is for tiny sizes
    kernels = is_compatible and (not gpu or xformers.covers(*torch.cuda.get_device_capability()))
    for operator in OPERATORS:
        usable = kernels if operator.startswith(("cutlass", "flshatt")) else is_compatible
        rows[f"memory_efficient_attention.{operator}"] = "available" if usable else "unavailable"
    rows["is_triton_available"] = "False"
    rows["pytorch.version"] = torch.__version__
    rows["pytorch.cuda"] = "available" if gpu else "not available"
    if gpu:
        rows["gpu.compute_capability"] = ".".join(str(part) for part in torch.cuda.get_device_capability())
        rows["gpu.name"] = torch.cuda.get_device_name()
    rows["build.info"] = "available"
    rows["build.cuda_version"] = str(xformers.BUILT_FOR_CUDA)
    rows["build.python_version"] = platform.python_version()
    rows["build.torch_version"] = xformers.BUILT_FOR_TORCH
    rows["source.privacy"] = "open source"
    return rows


def main() -> None:
    if not xformers.is_compatible():
        print(
            "WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. xFormers was built for:\n"
            f"    PyTorch {xformers.BUILT_FOR_TORCH} with CUDA {xformers.BUILT_FOR_CUDA} (you have {torch.__version__})",
            file=sys.stderr,
        )
    print(f"xFormers {xformers.__version__}")
    for name, value in collect().items():
        print(f"{name + ':':50} {value}")


if __name__ == "__main__":
    main()
