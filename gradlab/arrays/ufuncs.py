"""How a ufunc and its methods are evaluated on traced arrays.

A method, such as ``np.logaddexp.reduce``, calls the ufunc itself several times. An associative
ufunc may combine the entries in any order, so about log₂ n calls are enough; any other ufunc takes
one entry after the other, as NumPy does.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import accumulate
from gradlab.arrays.dispatch import (
    REDUCTIONS,
    Library,
    has_containers,
    held,
    is_given,
    operand,
    refuse_plain,
    refuse_write,
    values_of,
    write_out,
)
from gradlab.arrays.vectorized import call_of_objects, is_of_objects

UNSHARED_TESTS: list[Callable[[Any, Any, int], bool]] = []
"""Test for plain arrays without other references; `gradlab.arrays.augmented` registers itself."""


def call_ufunc(
    library: Library, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Evaluate a ufunc, or one of its methods, on traced arrays."""
    if method != "__call__":
        return _call_method(ufunc, method, inputs, kwargs)
    if has_containers(inputs):
        inputs = tuple(map(operand, inputs))
    if is_of_objects(ufunc):
        return call_of_objects(ufunc, inputs)
    if not kwargs:
        return library.find(ufunc)(*inputs)
    out, where = kwargs.get("out"), kwargs.get("where", True)
    if where is not True:
        # The ufunc must not be evaluated outside of the mask; 1 is in the domain of every ufunc.
        inputs = tuple(np.where(where, x, 1) for x in inputs)
    # Test this before the operands are kept for the derivative.
    is_unshared = out is not None and any(
        f(inputs, out, sys.getrefcount(out[0])) for f in UNSHARED_TESTS
    )
    result = library.find(ufunc)(*inputs)
    if where is not True:
        before = out[0] if out is not None else np.full(np.shape(result), np.nan)
        result = np.where(where, result, before)
    dtype = kwargs.get("dtype")
    if dtype is not None and result.dtype != np.dtype(dtype):
        result = result.astype(dtype)
    if out is None:
        return result
    if is_unshared and np.shape(result) == out[0].shape:
        wanted = out[0].dtype
        if np.can_cast(getattr(result, "real_dtype", result.dtype), wanted, "same_kind"):
            return result if result.dtype == wanted else result.astype(wanted)
    return write_out(out[0] if len(out) == 1 else out, result)


# Methods

_REDUCTION_OF_UFUNC = {ufunc: function for function, ufunc in REDUCTIONS.items()}

_ASSOCIATIVE = {
    *_REDUCTION_OF_UFUNC,
    np.logaddexp,
    np.logaddexp2,
    np.hypot,
    np.fmax,
    np.fmin,
    np.logical_xor,
}


def _call_method(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    options = {key: value for key, value in kwargs.items() if is_given(key, value)}
    if method == "at":  # what is written into stays a buffer
        return _at(ufunc, inputs[0], *map(held, inputs[1:]))
    x, *rest = map(held, inputs)
    if method == "outer":
        a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in (x, *rest))
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b, **options)
    out, dtype = options.pop("out", None), options.pop("dtype", None)
    if dtype is not None and np.dtype(dtype) != object:
        x = x.astype(dtype)
    result = _METHODS[method](ufunc, x, *rest, **options)
    return result if out is None else write_out(out[0], result)


def _reduce(
    ufunc: np.ufunc,
    x: Any,
    axis: Any = 0,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Combine the entries along axes."""
    if ufunc in _REDUCTION_OF_UFUNC:
        start = {} if initial is None else {"initial": initial}
        return _REDUCTION_OF_UFUNC[ufunc](x, axis=axis, keepdims=keepdims, where=where, **start)
    if where is not True:
        if ufunc.identity is None:
            refuse_plain(
                f"gives where to np.{ufunc.__name__}.reduce, which has no identity",
                "take the entries first",
            )
        x = np.where(where, x, ufunc.identity)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    if len(axes) > 1 and ufunc not in _ASSOCIATIVE:
        raise ValueError(f"reduction operation '{ufunc.__name__}' is not reorderable")
    rows = np.moveaxis(x, axes, range(len(axes)))
    result = _combined(ufunc, np.reshape(rows, (-1, *rows.shape[len(axes) :])), initial)
    return np.expand_dims(result, axes) if keepdims else result


def _combined(ufunc: np.ufunc, rows: Any, initial: Any) -> Any:
    """Combine the rows of an array, and an initial value before them."""
    if not len(rows):
        start = ufunc.identity if initial is None else initial
        return np.full(rows.shape[1:], start)
    if ufunc not in _ASSOCIATIVE:
        result = rows[0] if initial is None else ufunc(initial, rows[0])
        for row in rows[1:]:
            result = ufunc(result, row)
        return result
    while len(rows) > 1:
        half, odd = divmod(len(rows), 2)
        pairs = ufunc(rows[:half], rows[half : 2 * half])
        rows = np.concatenate([pairs, rows[-1:]]) if odd else pairs
    return rows[0] if initial is None else ufunc(initial, rows[0])


def _accumulate(ufunc: np.ufunc, x: Any, axis: int = 0) -> Any:
    """Return the running results along an axis."""
    if ufunc in _ASSOCIATIVE:
        return accumulate(ufunc, x, axis)
    rows = np.moveaxis(x, axis, 0)
    found = list(rows[:1])
    for row in rows[1:]:
        found.append(ufunc(found[-1], row))
    return np.moveaxis(np.stack(found), 0, axis) if found else x


def _reduceat(ufunc: np.ufunc, x: Any, starts: Any, axis: int = 0) -> Any:
    """Combine the entries from each start to the next."""
    rows = np.moveaxis(x, axis, 0)
    ends = [*starts[1:], len(rows)]
    parts = [rows[i : max(i + 1, j)] for i, j in zip(starts, ends, strict=True)]
    return np.moveaxis(np.stack([_reduce(ufunc, part) for part in parts]), 0, axis)


_METHODS: dict[str, Callable[..., Any]] = {
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
}


def _at(ufunc: np.ufunc, target: Any, index: Any, *values: Any) -> None:
    """Apply a ufunc to entries of an array in place; it is applied again for a repeated index."""
    if not hasattr(target, "write"):
        refuse_write(
            f"writes a traced value into a plain array with np.{ufunc.__name__}.at",
            "make it by np.zeros",
        )
    shape = np.shape(target)
    places = np.arange(math.prod(shape)).reshape(shape)[index]
    values = tuple(np.broadcast_to(value, np.shape(places)).reshape(-1) for value in values)
    places = places.reshape(-1)
    if ufunc in (np.add, np.subtract):
        sums = np.bincount(places, weights=values[0], minlength=math.prod(shape))
        target[...] = ufunc(target, sums.reshape(shape))
        return
    seen: Counter[int] = Counter()
    turns = []
    places = values_of(places)
    for place in places.tolist():
        turns.append(seen[place])
        seen[place] += 1
    for turn in range(max(turns, default=-1) + 1):  # no index is repeated within one turn
        now = np.flatnonzero(np.equal(turns, turn))
        there = np.unravel_index(places[now], shape)
        target[there] = ufunc(target[there], *(value[now] for value in values))
