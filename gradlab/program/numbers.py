"""Python numbers that change at each call, such as an iteration count, as inputs of a program.

A number is part of the key of a recording, because a loss may do anything with it: count a loop,
choose a branch. If recordings differ only in numbers, `Numbers` finds those that change, and the
next recording takes them as inputs, like arrays of shape (). Such a recording is valid only if
NumPy computes with the array as Python does with the number. `Rules` refuses other operations:

* a Python number takes the dtype of the array that it is combined with; a float64 array does not;
* Python integers do not overflow, and dividing one by 0 is an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.refusals import refuse
from gradlab.program.ir import Node, name_of
from gradlab.program.primitives import Kind, primitive_of

RECORDINGS_BEFORE_INPUTS = 2
"""Number of recordings that differ only in numbers before the numbers become inputs.

A single change may be an exception; a second one shows a pattern."""

MAX_RECORDINGS = 8
"""Number of recordings with different numbers or captured values before the loss runs unrecorded.

This limit applies only to a loss that is recorded more often than it is replayed."""

MAX_INPUT_INTEGER = 2**31
"""Size from which integers stay part of the key: products of smaller ones fit in 64 bits."""

Path = tuple[Any, ...]


class PythonInt(np.int64):
    """A Python integer that is data."""


class PythonFloat(np.float64):
    """A Python float that is data."""


class Numbers:
    """The numbers of a function that are inputs, and all numbers seen so far."""

    def __init__(self) -> None:
        # Their places in the arguments: the position, then indices and keys.
        self.inputs: set[Path] = set()
        self.refusal: str | None = None  # why numbers that change cannot be inputs
        self._seen: dict[Any, list[dict[Path, Any]]] = {}

    def as_data(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a call, with the numbers that are inputs as data."""
        data: tuple[Any, ...] = replaced(
            args, lambda path, x: _as_data(x) if path in self.inputs else x
        )
        return data

    def recorded(self, args: tuple[Any, ...], kind: Any) -> int:
        """Register a recording of these arguments; return the number of recordings of its kind.

        Recordings of one kind differ only in numbers or in captured values.
        """
        found: dict[Path, Any] = {}
        replaced(args, found.__setitem__)
        seen = self._seen.setdefault(kind, [])
        seen.append(found)
        return len(seen)

    def differing(self, kind: Any) -> set[Path]:
        """Return the places at which recordings of a kind differ."""
        first, *others = self._seen[kind]
        return {path for path in first if any(o[path] != first[path] for o in others)}

    def complaint(self, kind: Any, names: list[str]) -> str:
        """Describe how recordings of a kind differ, and why the difference cannot be an input."""
        differing = sorted(self.differing(kind), key=repr)
        if not differing:
            return "a variable that the loss closes over changes at each call"
        which = ", ".join(
            names[path[0]] + "".join(f"[{step!r}]" for step in path[1:]) for path in differing
        )
        why = f" and cannot be an input: {self.refusal}" if self.refusal else ""
        return f"a Python number changes at each call, {which},{why}"


def kind_of(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments with each number replaced by its type."""
    kinds: tuple[Any, ...] = replaced(args, lambda path, x: type(x))
    return kinds


def _as_data(x: float) -> Any:
    if type(x) is float:
        return PythonFloat(x)
    return PythonInt(x) if abs(x) < MAX_INPUT_INTEGER else x


def replaced(value: Any, change: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Replace the Python numbers inside tuples, lists and dicts.

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
    """Operations on a number that is data for which NumPy and Python agree."""

    def __init__(self) -> None:
        self._numbers: set[Node] = set()

    def input(self, node: Node) -> None:
        """Register a number that is data."""
        self._numbers.add(node)

    def keep(self, node: Node) -> Node | None:
        """Refuse an operation for which NumPy and Python may differ.

        Return the operand that must not be 0, because Python would raise an error.
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
                f"{name_of(node.primitive)} of Python numbers that change at each call: "
                "Python and NumPy may compute it differently; make them arrays"
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
                f"a Python number that differs at each call meets {dtype}: give it as an array "
                f"of {dtype}"
            )
