"""The arrays in a pickle, read without running it.

A pickle is a program for a stack machine, and Python's own calls whatever functions the program
names. The one in `machine.py` knows the opcodes that arrays in dicts, lists and tuples need, and no
others. It calls nothing: where the program asks for a call, it writes down which (`Call`), and the
arrays that NumPy writes are rebuilt from that description. Everything else is refused.

A pickle may name one object many times, in structures within structures, at a few bytes each. So
opcodes, values and bytes are counted before anything is made of them, and an array counts as often
as it is named. Only texts are keys: to hash a tuple of tuples that name each other has no end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import reason_of
from gradlab.pickles.machine import NAME as NAME
from gradlab.pickles.machine import OPCODES, Call, run
from gradlab.pickles.machine import PickleError as PickleError

Array: TypeAlias = NDArray[Any]

VALUES = 2**16
"""The most values that a pickle may hold, counted as often as they are named, without the numbers
of lists that become arrays."""

NUMBERS = 2 * OPCODES
"""The most numbers in lists, and lists of them, counted as often as they are named. Where none is
named twice, each took an opcode."""

DEPTH = 6
"""The most containers within each other; two make a list of layers, three the books' MNIST."""


def read(data: bytes, most: int) -> dict[str, Any]:
    """Return the arrays of a pickle by name; nested ones by their path, as ``layers.0.W``.

    Dicts, lists and tuples are gone through. A list of numbers, or of such lists of one length, is
    an array. What is neither comes back as it is: a text, a number, None.

    Parameters
    ----------
    data : bytes
        What ``pickle.dump`` wrote, under any version of NumPy and any protocol.
    most : int
        How many bytes the arrays may take together. One that is named twice counts twice.

    Raises
    ------
    PickleError
        If it names anything but NumPy arrays, or holds more than is read.
    Exception
        Whatever the unpickler raises where the pickle is damaged.

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
        kind = "NumPy array" if isinstance(record, Call) else type(record).__name__
        raise PickleError(f"it holds a {kind}, not a dict, list or tuple of arrays")
    budget, rebuilt, found = _Budget(most), _Arrays(), dict[str, Any]()
    for name, value in _leaves(record, "", 0, budget):
        if name in found:
            raise PickleError(f"it holds the name {name!r} twice")
        found[name] = rebuilt.array(name, value, budget)
    return found


class _Budget:
    """What may still be taken from a pickle."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, most
        self._values, self._numbers = VALUES, NUMBERS

    def take_value(self) -> None:
        self._values -= 1
        if self._values < 0:
            raise PickleError(f"it holds more than the {VALUES} values that are read")

    def take_numbers(self, count: int) -> None:
        self._numbers -= count
        if self._numbers < 0:
            raise PickleError(f"it holds more than the {NUMBERS} numbers in lists that are read")

    def take_bytes(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise PickleError(f"its arrays take more than the {self._most} bytes that are read")


_CONTAINERS = (dict, list, tuple)


def _leaves(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, depth: int, budget: _Budget
) -> Iterator[tuple[str, Any]]:
    """Yield what a structure holds, each with its path."""
    if depth == DEPTH:
        raise PickleError(f"it nests more than {DEPTH} dicts, lists and tuples: {path[:40]}...")
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        budget.take_value()
        name = f"{path}.{key}" if path else str(key)
        if isinstance(inner, list | tuple):
            inner = _numbers(inner, budget)
        if isinstance(inner, _CONTAINERS):
            yield from _leaves(inner, name, depth + 1, budget)
        else:
            yield name, inner


def _numbers(value: list[Any] | tuple[Any, ...], budget: _Budget) -> Any:
    """Return the array that a list of numbers, or of such lists of one length, stands for."""
    level: list[Any] = [value]
    # Level by level: each is counted before it is made, whatever lists name each other.
    for _ in range(4):
        lengths = {len(part) for part in level}
        if len(lengths) != 1 or lengths == {0}:
            return value
        if not all(type(part[0]) in (int, float, list, tuple) for part in level):
            return value
        budget.take_numbers(len(level) * len(level[0]))
        level = [entry for part in level for entry in part]
        kinds = set(map(type, level))
        if kinds <= {int, float}:
            budget.take_bytes(8 * len(level))
            return np.array(value)
        if not kinds <= {list, tuple}:
            return value
    return value


class _Arrays:
    """Makes each array of a pickle once, however often it is named."""

    def __init__(self) -> None:
        self._made: dict[int, Array] = {}

    def array(self, name: str, value: Any, budget: _Budget) -> Any:
        if not isinstance(value, Call):
            return value
        try:
            order, entries, shape, data = _parts(value)
            size = math.prod(shape) * entries.itemsize
        except Exception as error:
            raise _no_array(name, error) from error
        budget.take_bytes(size)
        if id(value) not in self._made:
            try:
                numbers = _bytes(data)
                if size != len(numbers):
                    raise ValueError(f"{len(numbers)} bytes for shape {shape} of {entries}")
                made = np.frombuffer(numbers, entries).reshape(shape, order=order)
            except Exception as error:
                raise _no_array(name, error) from error
            self._made[id(value)] = made
        return self._made[id(value)]


def _no_array(name: str, error: Exception) -> PickleError:
    return PickleError(f"{name} is not an array as NumPy pickles them ({reason_of(error)})")


def _parts(call: Call) -> tuple[Any, np.dtype[Any], tuple[int, ...], Any]:
    """Return order, dtype, shape and data of what one of NumPy's three constructors is to make."""
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


# A few bytes can make lists in lists whose text fills the memory: only what has the right type is
# shown, or calculated with.


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
    parts = (call.state[1], call.args[0]) if type(call) is Call and call.name == "dtype" else ()
    name = "".join(parts) if all(type(part) is str for part in parts) else ""
    if not re.fullmatch(r"[<>|][bcfiu]\d{1,2}", name):
        raise ValueError(f"dtype {name[:20]!r}, which is none of integers or floats")
    return np.dtype(name)


def _bytes(data: Any) -> bytes | bytearray:
    if type(data) is Call and data.name == "encode":
        data, codec = data.args
        if codec not in ("latin1", "latin-1"):
            shown = repr(codec[:20]) if type(codec) is str else f"a {type(codec).__name__}"
            raise ValueError(f"bytes encoded as {shown}")
    if type(data) is Call and data.name == "bytes" and not data.args:
        return b""
    if type(data) is str:  # stands for the bytes of the same code points: Python 2 had one type
        return data.encode("latin1")
    if type(data) is not bytes and type(data) is not bytearray:
        raise ValueError(f"its data are a {type(data).__name__}")
    return data
