"""How LLVM writes the types and constants of NumPy."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from gradlab.program.ir import Node

_TYPES = {"float32": "float", "float64": "double", "int32": "i32", "int64": "i64", "bool": "i1"}

DTYPES = tuple(map(np.dtype, _TYPES))
"""The dtypes that arrays may have."""


def dtype_of(node: Node | None) -> np.dtype[Any]:
    """Return the dtype of a value, which is an array of a known one."""
    assert node is not None
    assert node.dtype is not None
    return node.dtype


def type_of(dtype: np.dtype[Any]) -> str:
    """Return the type of an entry in a register."""
    return _TYPES[dtype.name]


def memory_type(dtype: np.dtype[Any]) -> str:
    """Return the type of an entry in memory, where a boolean is a byte."""
    return "i8" if dtype == np.bool_ else _TYPES[dtype.name]


def constant(value: Any, dtype: np.dtype[Any]) -> str:
    """Write a number.

    Examples
    --------
    >>> constant(0.5, np.dtype(np.float32)), constant(True, np.dtype(bool))
    ('0x3FE0000000000000', 'true')
    """
    if dtype.kind == "f":
        with np.errstate(all="ignore"):
            rounded = float(dtype.type(value))
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    if dtype.kind == "b":
        return "true" if value else "false"
    return str(int(dtype.type(value)))


def suffix(kind: str) -> str:
    """Return the suffix that LLVM gives to functions of a type."""
    return {"float": "f32", "double": "f64"}.get(kind, kind)


def short(dtype: np.dtype[Any], lanes: int) -> str:
    """Return the suffix that LLVM gives to functions of a vector."""
    return f"v{lanes}{suffix(type_of(dtype))}"


def power_of_two(count: int) -> int:
    """Return the smallest power of two that is not below a number."""
    return 1 << max(0, count - 1).bit_length()
