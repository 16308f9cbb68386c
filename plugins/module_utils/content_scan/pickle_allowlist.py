# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pickle may import, and how it may use it.

The globals are those which the WebUI's own loader (modules/safe.py of AUTOMATIC1111 1.10.1) accepts, and the plain tensors which it
does not know but torch's ``weights_only`` does: those of torch before 0.4 and those of bool, short, char and complex numbers. Each
may be used only the way a tensor file uses it: called with arguments of the known shape, filled with state of the known shape, or
merely named.
"""

from __future__ import annotations

import re
from typing import Any, Callable

from .pickle_values import (
    ARRAY_VALUE,
    BYTES_VALUE,
    DICT_VALUE,
    DTYPE_VALUE,
    NUMBER_VALUE,
    ORDERED_DICT_VALUE,
    PARAMETER_DICT_VALUE,
    SET_VALUE,
    STORAGE_ELEMENT_SIZES,
    TENSOR_VALUE,
    TEXT_VALUE,
    PickleList,
    StorageValue,
    SymbolicValue,
    has_exact_type,
    is_global,
    is_index_tuple,
)

# numbers and plain text of a fixed size: no objects, no records
SCALAR_TYPE = re.compile(r"[<>=|]?(?:[biu][1248]|f[248]|c(?:8|16)|[SU]\d{1,5}|\?)")
LOCATION = re.compile(r"[a-z][a-z0-9_]{0,40}(:\d{1,6})?")  # of a device: cpu, cuda:0, privateuseone:0


# --- what may be called, and how: each takes the arguments and gives the result, or None when they are not as they should


def _make_ordered_dict(arguments: Any) -> SymbolicValue | None:
    return (
        ORDERED_DICT_VALUE if not arguments or (len(arguments) == 1 and isinstance(arguments[0], PickleList)) else None
    )


def _make_set(arguments: Any) -> SymbolicValue | None:
    return SET_VALUE if len(arguments) == 1 and isinstance(arguments[0], PickleList) else None


def _has_no_hooks(value: Any) -> bool:
    """Backward hooks, of which old and DirectML files say None and all others have an empty OrderedDict."""
    return value is ORDERED_DICT_VALUE or value is None


def _make_tensor(arguments: Any) -> SymbolicValue | None:
    if not 6 <= len(arguments) <= 7:
        return None
    gradient, hooks = arguments[4:6]
    if (
        not has_exact_type(gradient, bool)
        or not _has_no_hooks(hooks)
        or (len(arguments) == 7 and arguments[6] is not DICT_VALUE)
    ):
        return None
    return _make_old_tensor(arguments[:4])


def _make_old_tensor(arguments: Any) -> SymbolicValue | None:
    """As torch wrote them before 0.4, and what all versions begin with."""
    if len(arguments) != 4 or not isinstance(arguments[0], StorageValue):
        return None
    storage, offset, size, stride = arguments
    if (
        not is_index_tuple((offset,))
        or not is_index_tuple(size)
        or not is_index_tuple(stride)
        or len(size) != len(stride)
    ):
        return None
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    # torch would make the storage larger, with whatever lies in memory
    return TENSOR_VALUE if 0 in size or last < storage.length else None


def _make_parameter(arguments: Any) -> SymbolicValue | None:
    if (
        len(arguments) == 3
        and arguments[0] is TENSOR_VALUE
        and has_exact_type(arguments[1], bool)
        and _has_no_hooks(arguments[2])
    ):
        return TENSOR_VALUE
    return None


def _make_tensor_from_numpy(arguments: Any) -> SymbolicValue | None:
    if len(arguments) == 4 and arguments[0] is ARRAY_VALUE and is_global(arguments[1], "torch float32"):
        if isinstance(arguments[2], str) and LOCATION.fullmatch(arguments[2]) and has_exact_type(arguments[3], bool):
            return TENSOR_VALUE
    return None


def _make_dtype(arguments: Any) -> SymbolicValue | None:
    if 1 <= len(arguments) <= 3 and isinstance(arguments[0], str) and SCALAR_TYPE.fullmatch(arguments[0]):
        if all(type(flag) in (bool, int) and flag in (0, 1) for flag in arguments[1:]):
            return DTYPE_VALUE
    return None


def _make_scalar(arguments: Any) -> SymbolicValue | None:
    return NUMBER_VALUE if len(arguments) == 2 and arguments[0] is DTYPE_VALUE and arguments[1] is BYTES_VALUE else None


def _make_array(arguments: Any) -> SymbolicValue | None:
    if len(arguments) == 3 and is_global(arguments[0], "numpy ndarray") and arguments[1] == (0,):
        return ARRAY_VALUE if arguments[2] is BYTES_VALUE or arguments[2] == "b" else None
    return None


def _make_bytes(arguments: Any) -> SymbolicValue | None:
    # how bytes are written below protocol 3
    if len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return BYTES_VALUE if arguments[0] is TEXT_VALUE or isinstance(arguments[0], str) else None
    return None


ALLOWED_CALLS: dict[str, Callable[[Any], SymbolicValue | None]] = {
    "collections OrderedDict": _make_ordered_dict,
    "__builtin__ set": _make_set,
    "_codecs encode": _make_bytes,
    "numpy dtype": _make_dtype,
    "numpy.core.multiarray scalar": _make_scalar,
    "numpy.core.multiarray _reconstruct": _make_array,
    "torch._utils _rebuild_tensor": _make_old_tensor,
    "torch._utils _rebuild_tensor_v2": _make_tensor,
    "torch._utils _rebuild_parameter": _make_parameter,
    "torch._utils _rebuild_device_tensor_from_numpy": _make_tensor_from_numpy,
}
ALLOWED_NAMES = {
    "numpy ndarray",
    "torch float32",
    "torch.nn.modules.container ParameterDict",
    # Stable Diffusion 1.x checkpoints have the class as the key of its state
    "pytorch_lightning.callbacks model_checkpoint",
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
    *("torch " + name for name in STORAGE_ELEMENT_SIZES),
}
ALLOWED_GLOBALS = ALLOWED_NAMES | set(ALLOWED_CALLS)


def is_allowed_state(value: Any, state: Any) -> bool:
    """Whether BUILD may give ``state`` to ``value``. A pair would set attributes one by one, so dicts must be dicts."""
    if value is ORDERED_DICT_VALUE or value is PARAMETER_DICT_VALUE:
        return state is DICT_VALUE
    if not isinstance(state, tuple):
        return False
    if value is DTYPE_VALUE:  # (version, byte order, base, names, fields, size, alignment, flags)
        if len(state) != 8 or not has_exact_type(state[0], int) or state[1] not in ("<", ">", "|", "="):
            return False
        sized = all(has_exact_type(item, int) and -1 <= item < 1 << 20 for item in state[5:7])
        return state[2:5] == (None, None, None) and sized and has_exact_type(state[7], int) and state[7] == 0
    if value is ARRAY_VALUE:  # (version, shape, dtype, column order, numbers)
        if (
            len(state) != 5
            or not has_exact_type(state[0], int)
            or not is_index_tuple(state[1])
            or not has_exact_type(state[3], bool)
        ):
            return False
        return state[2] is DTYPE_VALUE and (state[4] is BYTES_VALUE)
    return False
