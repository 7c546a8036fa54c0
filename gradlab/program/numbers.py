"""Python numbers that change at each call, such as an iteration count, as inputs of a program.

A number is part of the key of a recording, because a loss may do anything with it: count a loop,
choose a branch. Where recordings differ only in numbers, `Numbers` finds out which, and the next
recording takes these as inputs, like arrays of shape (). Such a recording is valid only if NumPy
computes with the array as Python does with the number. `Rules` refuses operations that differ:

* a Python number takes the dtype of the array that it is combined with; a float64 array does not;
* Python integers do not overflow, and dividing one by 0 is an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.refusals import refuse
from gradlab.errors import UntraceableError
from gradlab.program.ir import Node, name_of
from gradlab.program.primitives import Kind, primitive_of

FEW = 2
"""Recordings that may differ only in numbers before the numbers become inputs.

One change may be an exception; the second shows a pattern."""

MANY = 8
"""Recordings that differ in numbers, or in what the loss closes over, before it runs without them.

It applies only to a loss that is recorded more often than it is replayed."""

LARGEST = 2**31
"""Integers from here on stay part of the key: a product of two smaller ones fits into 64 bits."""

Path = tuple[Any, ...]


class PythonInt(np.int64):
    """A Python integer that is data."""


class PythonFloat(np.float64):
    """A Python float that is data."""


class Numbers:
    """Which of a function's numbers are inputs, and which have been seen so far.

    Attributes
    ----------
    inputs : set of tuple
        Where in the arguments they stand: the position, then indices and keys.
    refusal : str or None
        Why numbers that differ cannot be inputs.
    """

    def __init__(self) -> None:
        self.inputs: set[Path] = set()
        self.refusal: str | None = None
        self._seen: dict[Any, list[dict[Path, Any]]] = {}

    def as_data(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a call with those numbers as data that are inputs."""
        data: tuple[Any, ...] = replaced(
            args, lambda path, x: _as_data(x) if path in self.inputs else x
        )
        return data

    def recorded(self, args: tuple[Any, ...], kind: Any) -> int:
        """Take note of a recording of these arguments; return how many there are of its kind.

        Those of a kind differ in numbers alone, or in what the loss closes over.
        """
        found: dict[Path, Any] = {}
        replaced(args, found.__setitem__)
        seen = self._seen.setdefault(kind, [])
        seen.append(found)
        return len(seen)

    def differing(self, kind: Any) -> set[Path]:
        """Return where the recordings of a kind differ."""
        first, *others = self._seen[kind]
        return {path for path in first if any(o[path] != first[path] for o in others)}

    def complaint(self, kind: Any, names: list[str]) -> str:
        """Say what differs in the recordings of a kind, and why it is no input."""
        differing = sorted(self.differing(kind), key=repr)
        if not differing:
            return "a variable that the loss closes over changes at each call"
        which = ", ".join(
            names[path[0]] + "".join(f"[{step!r}]" for step in path[1:]) for path in differing
        )
        why = f" and cannot be an input: {self.refusal}" if self.refusal else ""
        return f"a Python number changes at each call, {which},{why}"


def kind_of(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with the type of each number in its place."""
    kinds: tuple[Any, ...] = replaced(args, lambda path, x: type(x))
    return kinds


def _as_data(x: float) -> Any:
    if type(x) is float:
        return PythonFloat(x)
    return PythonInt(x) if abs(x) < LARGEST else x


def replaced(value: Any, change: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Replace the Python numbers inside of tuples, lists and dicts.

    Examples
    --------
    >>> replaced((3, [True, {"a": 0.5}]), lambda path, x: path)
    ((0,), [True, {'a': (1, 1, 'a')}])
    """
    kind = type(value)
    if kind in (int, float):
        return change(path, value)
    if kind is dict:
        return {key: replaced(v, change, (*path, key)) for key, v in value.items()}
    if kind in (list, tuple):
        return kind([replaced(v, change, (*path, i)) for i, v in enumerate(value)])
    return value


class Rules:
    """What may be done with a number that is data, so that it is what Python does with it."""

    def __init__(self) -> None:
        self._numbers: set[Node] = set()

    def input(self, node: Node) -> None:
        """Take note of a number that is data."""
        self._numbers.add(node)

    def keep(self, node: Node) -> Node | None:
        """Hold an operation to the rules.

        Returns what must not be 0, for Python would raise an error.

        Raises
        ------
        UntraceableError
            If Python might do something else.
        """
        row = primitive_of(node.primitive)
        numbers = [o for o in node.sources if o in self._numbers]
        is_index = row.kind is Kind.GATHER or node.primitive is operator.getitem
        if not numbers or is_index:
            return None
        others = [o for o in node.operands if o not in numbers and not _is_literal(o)]
        for number in numbers if others else ():
            _require_same_promotion(number, others)
        if others or node.dtype is None or node.dtype.kind == "b":
            return None
        self._numbers.add(node)
        by = node.operands[-1]
        by_zero = node.primitive in (np.floor_divide, np.remainder) and (
            isinstance(by, Node) or by == 0
        )
        if by_zero or (node.dtype.kind in "iu" and not row.like_python):
            refuse(
                UntraceableError(
                    f"{name_of(node.primitive)} of Python numbers that change at each call: "
                    "Python and NumPy may compute it differently; make them arrays"
                )
            )
        return by if node.primitive is np.divide and isinstance(by, Node) else None


def _is_literal(operand: Any) -> bool:
    return operand is None or type(operand) in (bool, int, float, complex, str)


def _require_same_promotion(number: Node, others: list[Any]) -> None:
    weak = 0 if number.dtype is not None and number.dtype.kind in "iu" else 0.0
    for other in others:
        dtype = getattr(other, "dtype", None)
        if dtype is None or number.dtype is None:
            continue
        if np.result_type(dtype, weak) != np.result_type(dtype, number.dtype):
            refuse(
                UntraceableError(
                    f"a Python number that differs at each call meets {dtype}: give it as an array "
                    f"of {dtype}"
                )
            )
