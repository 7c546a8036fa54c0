"""What the composites share: axes, nested sequences, square roots at 0, running results."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.dispatch import has_traced, held


def as_array(x: Any) -> Any:
    """Return a traced array as it is, nested sequences as one array."""
    x = held(x)
    if issubclass(type(x), (list, tuple)) and has_traced(x):
        return np.stack([as_array(item) for item in x])
    return x if hasattr(x, "shape") else np.asarray(x)


def axis_of(x: Any, axis: Any) -> int:
    """Return an axis counted from the front.

    Examples
    --------
    >>> axis_of(np.zeros((2, 3)), -1)
    1
    """
    return int(np.lib.array_utils.normalize_axis_index(axis, np.ndim(x)))


def axes_of(x: Any, axis: Any) -> tuple[int, ...]:
    """Return axes counted from the front; all of them for None."""
    if axis is None:
        return tuple(range(np.ndim(x)))
    return tuple(np.lib.array_utils.normalize_axis_tuple(axis, np.ndim(x)))


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """Return an index into one axis of an array; the other axes are kept."""
    return (slice(None),) * axis + (index,)


def count_of(x: Any, axis: Any) -> int:
    """Return the number of entries that a reduction over the axes combines."""
    shape = np.shape(x)
    return int(np.prod([shape[i] for i in axes_of(x, axis)], dtype=np.int64))


def safe_sqrt(x: Any) -> Any:
    """Return the square root, with derivative 0 at 0."""
    positive = x > 0
    return np.where(positive, np.sqrt(np.where(positive, x, 1.0)), 0.0 * x)


def flattened(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """Return an array with the axes of a reduction as its last one, and the shape kept."""
    axes = axes_of(a, axis)
    shape = tuple(1 if i in axes else n for i, n in enumerate(np.shape(a)))
    kept = [i for i in range(np.ndim(a)) if i not in axes]
    rows = np.transpose(a, (*kept, *axes))
    return np.reshape(rows, (*[np.shape(a)[i] for i in kept], -1)), shape


def accumulate(ufunc: Any, x: Any, axis: int) -> Any:
    """Return the running results of an associative ufunc, in about log₂ n calls of it.

    Each step combines every entry with the one s places before it and doubles s: Hillis & Steele,
    *Data parallel algorithms*, Communications of the ACM 29 (1986). The method does not divide, so
    zeros need no special case.

    Examples
    --------
    >>> accumulate(np.multiply, np.array([2.0, 0.0, 3.0]), 0)
    array([2., 0., 0.])
    """
    if ufunc is np.add:
        return np.cumsum(x, axis=axis)
    y = np.moveaxis(x, axis, 0)
    reach, n = 1, np.shape(y)[0]
    while reach < n:
        y = np.concatenate([y[:reach], ufunc(y[:-reach], y[reach:])])
        reach *= 2
    return np.moveaxis(y, 0, axis)
