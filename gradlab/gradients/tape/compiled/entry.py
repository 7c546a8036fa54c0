"""The function that Python calls: it looks at the arrays, runs the program, looks for NaN.

It reads type, dtype, shape and layout of each array from the array's own struct, in nanoseconds,
and declines a call that the code was not made for. `layout_is_known` tries the positions of the
fields on an array whose fields are known, so that an interpreter that lays them out differently
gets no compiled code.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.kinds import DTYPES, dtype_of
from gradlab.gradients.tape.compiled.sharing import pause
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node

DECLINED = -np.inf
"""What the function returns for arrays that the code was not made for."""

PAUSE_OFFSET, CALLS_OFFSET = 8 * (1 + len(DTYPES)), 8 * (2 + len(DTYPES))
"""Where in the table the address of `pause` is, and those of NumPy's inner loops, in bytes.

Before them are the addresses of ``ndarray`` and of the dtypes."""

ITEMS_OFFSET = object.__basicsize__ + 8  # of a tuple
DATA, NDIM, DIMENSIONS, DTYPE, FLAGS = 16, 24, 32, 56, 64  # of an array

READABLE_FLAGS = 0x0001 | 0x0100  # in C order and aligned
WRITABLE_FLAGS = READABLE_FLAGS | 0x0400


def layout_is_known() -> bool:
    """Tell whether arrays and tuples lie in memory as the code expects."""
    if struct.calcsize("P") != 8 or ITEMS_OFFSET != 24:
        return False
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    given = (array,)
    found = [
        _read(id(given) + 16, ctypes.c_long),
        _read(id(given) + ITEMS_OFFSET, ctypes.c_void_p),
        _read(id(array) + 8, ctypes.c_void_p),
        _read(id(array) + DATA, ctypes.c_void_p),
        _read(id(array) + NDIM, ctypes.c_int),
        _read(id(array) + DTYPE, ctypes.c_void_p),
        _read(id(array) + FLAGS, ctypes.c_int) & WRITABLE_FLAGS,
    ]
    wanted = [
        1,
        id(array),
        id(np.ndarray),
        array.ctypes.data,
        2,
        id(np.dtype(float)),
        READABLE_FLAGS,
    ]
    shape = _read(id(array) + DIMENSIONS, ctypes.c_void_p)
    if found != wanted or not shape:
        return False
    array.flags.writeable = True
    lengths = [_read(shape + 8 * axis, ctypes.c_int64) for axis in (0, 1)]
    return (
        lengths == [2, 3]
        and _read(id(array) + FLAGS, ctypes.c_int) & WRITABLE_FLAGS == WRITABLE_FLAGS
    )


def _read(address: int, kind: Any) -> Any:
    return kind.from_address(address).value


def addresses(calls: Sequence[tuple[np.ufunc, int]]) -> Any:
    """Return the table of addresses: of types, of a function, of NumPy's inner loops and data."""
    found = [id(np.ndarray), *map(id, DTYPES), pause()]
    for ufunc, position in calls:
        for field in (32, 40):
            table = _read(id(ufunc) + field, ctypes.c_void_p)
            found.append(_read(table + 8 * position, ctypes.c_void_p) or 0 if table else 0)
    return np.array(found, np.int64)


def loops_are_known() -> bool:
    """Tell whether a ufunc lies in memory as the code expects, by one that has known fields."""
    ufunc = np.logaddexp
    counts = [_read(id(ufunc) + 16 + 4 * field, ctypes.c_int) for field in range(3)]
    number, types = _read(id(ufunc) + 48, ctypes.c_int), _read(id(ufunc) + 64, ctypes.c_void_p)
    if counts != [2, 1, 3] or number != ufunc.ntypes or not types:
        return False
    wanted = [np.dtype(kind).num for kinds in ufunc.types for kind in kinds.replace("->", "")]
    return list(ctypes.string_at(types, len(wanted))) == wanted


def check_arrays(
    text: Text, inputs: Sequence[Node], outs: Sequence[Node], constants: Sequence[Node]
) -> None:
    """Write the checks of the arrays in a tuple, and the table ``%p`` of their entries."""
    arrays = [*inputs, *outs, *constants]
    text.first.append(f"%p = alloca ptr, i64 {len(arrays)}")

    def field(base: str, offset: int, kind: str) -> str:
        return text.do(f"load {kind}, ptr {text.at(base, offset, 'i8')}")

    def require(conditions: list[str]) -> None:
        if not conditions:
            return
        while len(conditions) > 1:
            both = text.do(f"and i1 {conditions[0]}, {conditions[1]}")
            conditions = [*conditions[2:], both]
        label = text.name("go")[1:]
        text.put(f"br i1 {conditions[0]}, label %{label}, label %declined")
        text.put(f"{label}:")

    def same(kind: str, value: str, wanted: Any) -> str:
        return text.do(f"icmp eq {kind} {value}, {wanted}")

    require([same("i64", field("%tuple", 16, "i64"), len(arrays))])
    items = [field("%tuple", ITEMS_OFFSET + 8 * i, "ptr") for i in range(len(arrays))]
    array_type = field("%table", 0, "i64")
    require([same("i64", field(item, 8, "i64"), array_type) for item in items])
    conditions = []
    for position, (node, item) in enumerate(zip(arrays, items, strict=True)):
        is_out = len(inputs) <= position < len(inputs) + len(outs)
        flags = WRITABLE_FLAGS if is_out else READABLE_FLAGS
        dtype = field("%table", 8 + 8 * DTYPES.index(dtype_of(node)), "i64")
        found = text.do(f"and i32 {field(item, FLAGS, 'i32')}, {flags}")
        conditions += [
            same("i64", field(item, DTYPE, "i64"), dtype),
            same("i32", field(item, NDIM, "i32"), len(node.shape or ())),
            same("i32", found, flags),
        ]
    require(conditions)
    conditions, pointers = [], []
    for node, item in zip(arrays, items, strict=True):
        shape = field(item, DIMENSIONS, "ptr")
        for axis, extent in enumerate(node.shape or ()):
            conditions.append(same("i64", field(shape, 8 * axis, "i64"), extent))
        pointers.append(field(item, DATA, "ptr"))
    require(conditions)
    at = [*zip(pointers, arrays, strict=True)][len(inputs) :]
    require(
        [_share_no_memory(text, out, other) for out in at[: len(outs)] for other in at[len(outs) :]]
    )
    for position, pointer in enumerate(pointers):
        text.put(f"store ptr {pointer}, ptr {text.at('%p', position, 'ptr')}")


def _share_no_memory(text: Text, out: tuple[str, Node], other: tuple[str, Node]) -> str:
    """Write whether two arrays share no memory. Python has compared results with inputs."""
    ends = []
    for (_, node), start in zip((out, other), (out[0], other[0]), strict=True):
        nbytes = prod(node.shape or (1,)) * dtype_of(node).itemsize
        ends.append(text.at(start, nbytes, "i8"))
    before = text.do(f"icmp ule ptr {ends[0]}, {other[0]}")
    after = text.do(f"icmp ule ptr {ends[1]}, {out[0]}")
    return text.do(f"or i1 {before}, {after}")
