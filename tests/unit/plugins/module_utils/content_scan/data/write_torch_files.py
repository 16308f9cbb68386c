"""Wrote the files beside it: `python write_torch_files.py DIRECTORY` with torch 2.1.2 (NumPy 1.26.4) or 2.13.0 (CPU).

The same few objects as real models have, in both formats of torch.save; small integers for weights.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy
import torch

TYPES = (torch.float32, torch.float16, torch.int64, torch.int32, torch.uint8, torch.float64, torch.bfloat16)


def tensor(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(int(numpy.prod(shape))) % 7).to(dtype).reshape(shape)


class ModelCheckpoint:
    """Stands for Lightning's class, which old checkpoints have as a key."""


def checkpoint() -> dict:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for module in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        sys.modules[module] = types.ModuleType(module)
    ModelCheckpoint.__module__ = name
    sys.modules[name].ModelCheckpoint = ModelCheckpoint
    state = OrderedDict((f"model.diffusion_model.{i}.weight", tensor(3, 4, dtype=t)) for i, t in enumerate(TYPES))
    state["shared.a"] = state["model.diffusion_model.0.weight"].t()
    state["scalar"] = torch.tensor(1.5)
    state["empty"] = torch.empty(0)
    layer = torch.nn.Linear(3, 2).state_dict()
    state.update(layer)
    state._metadata = layer._metadata
    score = {"monitor": "val/loss", "best_model_score": None, "current_score": numpy.float64(0.25), "dirpath": "x"}
    return {
        "state_dict": state,
        "global_step": 470000,
        "epoch": 3,
        "callbacks": {ModelCheckpoint: score},
        "optimizer_states": [],
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 3, "_get_lr_called_within_step": False}],
        "pytorch-lightning_version": "1.4.2",
        "arr": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
    }


def objects() -> dict:
    nothing = {"name": "x", "step": 10, "sd_checkpoint": None, "sd_checkpoint_name": None}
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(tensor(2, 8))})
    layers = (OrderedDict(a=tensor(4)), OrderedDict(a=tensor(4)))
    return {
        "checkpoint": checkpoint(),
        "embedding": {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor(2, 8)}, **nothing},
        "embedding_parameterdict": {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters},
        "esrgan": {"params_ema": OrderedDict((f"conv{i}.weight", tensor(2, 3, 3, 3)) for i in range(3))},
        "hypernetwork": {768: layers, "layer_structure": [1, 2, 1], "is_layer_norm": False, **nothing},
        "parameter": {"w": torch.nn.Parameter(tensor(3, 2)), "f32": torch.float32},
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, value in objects().items():
        torch.save(value, target / f"{name}.zip.pt")
        torch.save(value, target / f"{name}.old.pt", _use_new_zipfile_serialization=False)
