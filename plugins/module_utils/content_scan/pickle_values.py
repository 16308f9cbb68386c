# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that a symbolic reading of a pickle knows: no object is built, only its sort is followed."""

from __future__ import annotations

from typing import Any, NamedTuple

# Bytes per element. These names are only ever named, in a storage's persistent id.
STORAGE_ELEMENT_SIZES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "FloatStorage": 4,
    "IntStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}


class SymbolicValue:
    """A value of which only the sort matters."""

    __slots__ = ("sort",)

    def __init__(self, sort: str) -> None:
        self.sort = sort


class GlobalName(SymbolicValue):
    """Something that would be imported."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__("a global")
        self.name = name  # "module name", as the opcode has it


class StorageValue(SymbolicValue):
    """Raw numbers that the loader takes from elsewhere in the file."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        super().__init__("a storage")
        self.length = length


class PickleList(SymbolicValue):
    """A list; its items are kept while all of them are short texts, for the list of storage keys in old files."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        super().__init__("a list")
        self.items: list[str] | None = []

    def add(self, values: list[Any]) -> None:
        if self.items is not None and all(isinstance(value, str) for value in values):
            self.items.extend(values)
        else:
            self.items = None


class StorageInfo(NamedTuple):
    type: str
    length: int  # in elements

    @property
    def bytes(self) -> int:
        return self.length * STORAGE_ELEMENT_SIZES[self.type]


# Values that carry no more than their sort. Besides these, the stack holds None, bool, int, short str, tuple.
TEXT_VALUE = SymbolicValue("a text")
BYTES_VALUE = SymbolicValue("bytes")
NUMBER_VALUE = SymbolicValue("a number")
TUPLE_VALUE = SymbolicValue("a tuple")
DICT_VALUE = SymbolicValue("a dict")
SET_VALUE = SymbolicValue("a set")
ORDERED_DICT_VALUE = SymbolicValue("an OrderedDict")
TENSOR_VALUE = SymbolicValue("a tensor")
DTYPE_VALUE = SymbolicValue("a dtype")
ARRAY_VALUE = SymbolicValue("an array")
PARAMETER_DICT_VALUE = SymbolicValue("a ParameterDict")


def describe_value(value: Any) -> str:
    if isinstance(value, GlobalName):
        return value.name.replace(" ", ".")
    return value.sort if isinstance(value, SymbolicValue) else "a " + type(value).__name__


def has_exact_type(value: Any, expected: type) -> bool:
    """Unlike ``isinstance``, not of a subclass: a bool is no int, and a named tuple no tuple."""
    return type(value) in (expected,)


def is_index_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and all(has_exact_type(item, int) and 0 <= item < 1 << 48 for item in value)


def is_global(value: Any, name: str) -> bool:
    return isinstance(value, GlobalName) and value.name == name
