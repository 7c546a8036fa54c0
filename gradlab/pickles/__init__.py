"""The arrays in a pickle, read without running it.

A pickle is a program for a stack machine, and Python's own machine calls any function that the
program names. The machine in `machine.py` knows only the opcodes for arrays in dicts, lists and
tuples. It calls nothing: it records each requested call (`RequestedCall`), and arrays are rebuilt
from these records. Everything else is refused.

A pickle may refer to one object many times, at a few bytes each. So opcodes, values and bytes are
counted before anything is allocated, and an array counts once per reference. Keys must be text,
because hashing deeply shared tuples may take exponential time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import reason_of
from gradlab.pickles.machine import MAX_KEY_CHARACTERS as MAX_KEY_CHARACTERS
from gradlab.pickles.machine import MAX_OPCODES, RequestedCall, run
from gradlab.pickles.machine import PickleError as PickleError

Array: TypeAlias = NDArray[Any]

MAX_VALUES = 2**16
"""Largest number of values in a pickle, counted once per reference, without the numbers in lists
that become arrays."""

MAX_NUMBERS = 2 * MAX_OPCODES
"""Largest number of numbers in lists, and of such lists, counted once per reference. Without shared
references, each takes an opcode."""

MAX_DEPTH = 6
"""Largest depth of containers. A list of layers has two levels, the textbooks' MNIST three."""


def read(data: bytes, most: int) -> dict[str, Any]:
    """Return the arrays of a pickle by name; nested ones by their path, as ``layers.0.W``.

    Dicts, lists and tuples are traversed. A list of numbers, or of such lists of equal length,
    becomes an array. Other values are returned unchanged: text, numbers, None. The arrays may take
    `most` bytes in all; one that is referenced twice counts twice. Raise a PickleError if the
    pickle names anything but NumPy arrays, or exceeds a limit. A damaged one may raise any
    exception.

    Examples
    --------
    >>> import pickle
    >>> W = np.ones(2)
    >>> read(pickle.dumps({"W": W, "layers": [W, [[1, 2], [3, 4]]]}), most=64)
    {'W': array([1., 1.]), 'layers.0': array([1., 1.]), 'layers.1': array([[1, 2],
           [3, 4]])}
    >>> read(pickle.dumps([W] * 1000), most=64)
    Traceback (most recent call last):
    gradlab.pickles.machine.PickleError: its arrays take more than the 64 bytes that are read
    >>> read(pickle.dumps({"W": print}), most=64)
    Traceback (most recent call last):
    gradlab.pickles.machine.PickleError: refused, as it names builtins.print; ...
    """
    record = run(data)
    if not isinstance(record, _CONTAINERS):
        kind = "NumPy array" if isinstance(record, RequestedCall) else type(record).__name__
        raise PickleError(f"it holds a {kind}, not a dict, list or tuple of arrays")
    budget, rebuilt, found = _Budget(most), _Arrays(), dict[str, Any]()
    for name, value in _leaves(record, "", 0, budget):
        if name in found:
            raise PickleError(f"it holds the name {name!r} twice")
        found[name] = rebuilt.array(name, value, budget)
    return found


class _Budget:
    """The remaining limits of a pickle."""

    def __init__(self, most: int) -> None:
        self._limits = {"values": MAX_VALUES, "numbers in lists": MAX_NUMBERS, "bytes": most}
        self._left = dict(self._limits)

    def take(self, what: str, count: int = 1) -> None:
        """Take values, numbers in lists or bytes; raise a PickleError if none are left."""
        self._left[what] -= count
        if self._left[what] < 0:
            holds = "its arrays take" if what == "bytes" else "it holds"
            raise PickleError(f"{holds} more than the {self._limits[what]} {what} that are read")


_CONTAINERS = (dict, list, tuple)


def _leaves(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, depth: int, budget: _Budget
) -> Iterator[tuple[str, Any]]:
    """Yield each value in a structure with its path."""
    if depth == MAX_DEPTH:
        raise PickleError(f"it nests more than {MAX_DEPTH} dicts, lists and tuples: {path[:40]}...")
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        budget.take("values")
        name = f"{path}.{key}" if path else str(key)
        if isinstance(inner, list | tuple):
            inner = _numbers(inner, budget)
        if isinstance(inner, _CONTAINERS):
            yield from _leaves(inner, name, depth + 1, budget)
        else:
            yield name, inner


def _numbers(value: list[Any] | tuple[Any, ...], budget: _Budget) -> Any:
    """Return the array for a list of numbers, or of such lists of equal length."""
    level: list[Any] = [value]
    # Level by level: each is counted before it is built, also if lists are shared.
    for _ in range(4):
        lengths = {len(part) for part in level}
        if len(lengths) != 1 or lengths == {0}:
            return value
        if not all(type(part[0]) in (int, float, list, tuple) for part in level):
            return value
        budget.take("numbers in lists", len(level) * len(level[0]))
        level = [entry for part in level for entry in part]
        kinds = set(map(type, level))
        if kinds <= {int, float}:
            budget.take("bytes", 8 * len(level))
            return np.array(value)
        if not kinds <= {list, tuple}:
            return value
    return value


class _Arrays:
    """Builds each array of a pickle once, however often it is referenced."""

    def __init__(self) -> None:
        self._made: dict[int, Array] = {}

    def array(self, name: str, value: Any, budget: _Budget) -> Any:
        if not isinstance(value, RequestedCall):
            return value
        try:
            order, entries, shape, data = _parts(value)
            size = math.prod(shape) * entries.itemsize
            budget.take("bytes", size)
            if id(value) not in self._made:
                numbers = _bytes(data)
                if size != len(numbers):
                    raise ValueError(f"{len(numbers)} bytes for shape {shape} of {entries}")
                made = np.frombuffer(numbers, entries).reshape(shape, order=order)
                self._made[id(value)] = made
        except PickleError:
            raise
        except Exception as error:
            raise PickleError(
                f"{name} is not an array as NumPy pickles them ({reason_of(error)})"
            ) from error
        return self._made[id(value)]


def _parts(call: RequestedCall) -> tuple[Any, np.dtype[Any], tuple[int, ...], Any]:
    """Return order, dtype, shape and data for a call of one of NumPy's three constructors."""
    order = "C"
    if call.name == "_reconstruct":
        _, shape, dtype, fortran, data = call.state
        order = "F" if fortran else "C"
    elif call.name == "_frombuffer":
        data, dtype, shape, order = call.args
    elif call.name == "scalar":
        (dtype, data), shape = call.args, ()
    else:
        raise ValueError(f"but a {call.name}")
    return _order(order), _dtype(dtype), _shape(shape), data


# A few bytes can build nested lists whose text fills the memory. So only values of the right type
# are shown or used.


def _shape(shape: Any) -> tuple[int, ...]:
    # The bounds keep the product of the sizes short: integers may have millions of digits here.
    if type(shape) is not tuple or len(shape) > 64:
        raise ValueError("its shape is not a tuple of sizes")
    if not all(type(size) is int and 0 <= size < 2**48 for size in shape):
        raise ValueError("its shape is not a tuple of sizes")
    return shape


def _order(order: Any) -> Any:
    if order not in ("C", "F"):
        raise ValueError("its order is neither C nor F")
    return order


def _dtype(call: Any) -> np.dtype[Any]:
    parts = (
        (call.state[1], call.args[0])
        if type(call) is RequestedCall and call.name == "dtype"
        else ()
    )
    name = "".join(parts) if all(type(part) is str for part in parts) else ""
    if not re.fullmatch(r"[<>|][bcfiu]\d{1,2}", name):
        raise ValueError(f"dtype {name[:20]!r}, which is not one of integers or floats")
    return np.dtype(name)


def _bytes(data: Any) -> bytes | bytearray:
    if type(data) is RequestedCall and data.name == "encode":
        data, codec = data.args
        if codec not in ("latin1", "latin-1"):
            shown = repr(codec[:20]) if type(codec) is str else f"a {type(codec).__name__}"
            raise ValueError(f"bytes encoded as {shown}")
    if type(data) is RequestedCall and data.name == "bytes" and not data.args:
        return b""
    if type(data) is str:  # stands for the bytes of the same code points: Python 2 had one type
        return data.encode("latin1")
    if type(data) is not bytes and type(data) is not bytearray:
        raise ValueError(f"its data are a {type(data).__name__}")
    return data
