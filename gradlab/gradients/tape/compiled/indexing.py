"""Index arrays as arithmetic: where each entry of a result lies in the array that is indexed.

``x[i, j]`` becomes `take(x, position, in_range)`, where the position is ``i * columns + j`` for
every entry, computed by elementwise operations like all others. An index that is out of range is
not followed; the function then declines the call, and NumPy raises its own error.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gradlab.arrays.indexing import HERE
from gradlab.program.ir import Node
from gradlab.program.pieces import is_number, shape_of
from gradlab.program.primitives import RESHAPE

INT, BOOL = np.dtype(np.int64), np.dtype(bool)


class UnsupportedError(Exception):
    """The planner does not know this program; the message says what of it."""


def take(x: Any, position: Any, in_range: Any) -> Any:
    """Return the entries of x, in C order, at positions; 0 where they are not in range.

    Examples
    --------
    >>> take(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([3, 9]), np.array([True, False]))
    array([4., 0.])
    """
    return np.where(in_range, np.ravel(x)[np.where(in_range, position, 0)], 0.0)


def add_at(total: Any, term: Any, position: Any, in_range: Any) -> Any:
    """Return `total` with `term` added at positions, which may name an entry twice.

    Examples
    --------
    >>> add_at(np.zeros(3), np.ones(2), np.array([1, 1]), True)
    array([0., 2., 0.])
    """
    result = np.array(total)
    shape = np.broadcast_shapes(np.shape(position), np.shape(term))
    here = np.broadcast_to(in_range, shape)
    np.add.at(
        result.reshape(-1),
        np.broadcast_to(position, shape)[here],
        np.broadcast_to(term, shape)[here],
    )
    return result


def positions(shape: tuple[int, ...], template: Any, arrays: Sequence[Any]) -> tuple[Any, Any]:
    """Return the positions that an index into an array of a shape selects, and which are in range.

    The template has a mark for each of `arrays`, which are values of the program; see
    `gradlab.arrays.indexing`.
    """
    whole = np.arange(prod(shape)).reshape(shape)
    if not arrays:
        return np.asarray(whole[template], INT, order="C"), True
    parts = _completed(template if isinstance(template, tuple) else (template,), len(shape))
    if any(part is None for part in parts):
        raise UnsupportedError("an index array beside None")
    left = iter(arrays)
    advanced = [axis for axis, part in enumerate(parts) if not isinstance(part, slice)]
    if advanced != [*range(advanced[0], advanced[-1] + 1)]:
        raise UnsupportedError("index arrays on both sides of a slice")
    indices = [next(left) if parts[axis] is HERE else parts[axis] for axis in advanced]
    across = np.broadcast_shapes(*map(shape_of, indices))
    start = np.asarray(whole[tuple(part if isinstance(part, slice) else 0 for part in parts)])
    after = start.ndim - advanced[0]
    before, behind = start.shape[: advanced[0]], start.shape[advanced[0] :]
    places = np.reshape(start, (*before, *(1,) * len(across), *behind))
    position: Any = np.asarray(places, INT, order="C")
    in_range: Any = True
    for axis, index in zip(advanced, indices, strict=True):
        index = reshaped(index, (*shape_of(index), *(1,) * after))
        index, is_inside = _wrapped(index, shape[axis])
        position = elementwise(
            np.add, INT, position, elementwise(np.multiply, INT, index, prod(shape[axis + 1 :]))
        )
        in_range = (
            is_inside
            if in_range is True
            else elementwise(np.logical_and, BOOL, in_range, is_inside)
        )
    return position, in_range


def _completed(parts: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """Return an index with a part for each axis."""
    made = tuple(np.asarray(part) if isinstance(part, list) else part for part in parts)
    used = sum(part is not None and part is not Ellipsis for part in made)
    rest = (slice(None),) * (count - used)
    places = [position for position, part in enumerate(made) if part is Ellipsis]
    at = places[0] if places else len(made)
    return (*made[:at], *rest, *made[at + 1 :])


def _wrapped(index: Any, count: int) -> tuple[Any, Any]:
    """Return an index counted from the start, and whether it is in range."""
    if not isinstance(index, Node):
        index = np.asarray(index)
        if index.dtype.kind not in "iu":
            raise UnsupportedError("a mask beside an index array")
        index = np.asarray(np.where(index < 0, index + count, index), INT, order="C")
        return index, bool(((index >= 0) & (index < count)).all())
    if index.dtype != INT:
        index = Node(np.astype, (index, INT), {}, index.shape, INT)
    from_end = elementwise(np.add, INT, index, count)
    index = elementwise(np.where, INT, elementwise(np.less, BOOL, index, 0), from_end, index)
    low, high = (
        elementwise(np.greater_equal, BOOL, index, 0),
        elementwise(np.less, BOOL, index, count),
    )
    return index, elementwise(np.logical_and, BOOL, low, high)


def reshaped(x: Any, shape: Any) -> Any:
    """Return an operand in another shape; a number stays one."""
    if shape_of(x) == shape or is_number(x):
        return x
    if not isinstance(x, Node):
        return np.reshape(x, shape)
    made = np.broadcast_to(np.empty((), x.dtype), shape_of(x)).reshape(shape).shape
    return Node(RESHAPE, (x, made), {}, made, x.dtype)


def elementwise(primitive: Any, dtype: np.dtype[Any] | None, *operands: Any) -> Node:
    """Return a node of an elementwise operation on operands that are broadcast."""
    shape = np.broadcast_shapes(*map(shape_of, operands))
    return Node(primitive, operands, {}, shape, dtype)
