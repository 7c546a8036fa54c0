"""Selecting entries; parts of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import along, as_array, axis_of
from gradlab.arrays.dispatch import composite


@composite(np.take)
def take(a: Any, indices: Any, axis: Any = None, mode: str = "raise") -> Any:
    """Take entries along an axis."""
    a, indices = as_array(a), as_array(indices)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis_of(a, axis)
    if mode == "wrap":
        indices = indices % np.shape(a)[axis]
    elif mode == "clip":
        indices = np.clip(indices, 0, np.shape(a)[axis] - 1)
    return a[along(axis, indices)]


@composite(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """Take one entry per index, along an axis."""
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = axis_of(arr, axis)
    ndim, shape = np.ndim(arr), np.shape(indices)
    grid = [
        np.arange(shape[i] if np.shape(arr)[i] != 1 else 1).reshape(
            (1,) * i + (-1,) + (1,) * (ndim - i - 1)
        )
        for i in range(ndim)
    ]
    return arr[tuple(indices if i == axis else grid[i] for i in range(ndim))]


@composite(np.choose)
def choose(a: Any, choices: Any, mode: str = "raise") -> Any:
    """Take each entry from one of several arrays."""
    a = as_array(a)
    if mode != "raise":
        a = a % len(choices) if mode == "wrap" else np.clip(a, 0, len(choices) - 1)
    result = as_array(choices[0])
    for i, choice in enumerate(choices[1:], start=1):
        result = np.where(a == i, choice, result)
    return np.broadcast_to(result, np.broadcast_shapes(np.shape(a), np.shape(result)))


@composite(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Take each entry from the choice of the first condition that holds."""
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return result


@composite(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Evaluate a function on each of several parts of an array."""
    conditions = [np.asarray(c, bool) for c in _conditions(condlist, np.ndim(x))]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    result = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        part = function(x[condition], *args, **kw) if callable(function) else function
        result[condition] = part
    return result


def _conditions(condlist: Any, ndim: int) -> list[Any]:
    is_single = np.isscalar(condlist) or (
        not isinstance(condlist[0], (list, np.ndarray)) and ndim != 0
    )
    return [condlist] if is_single else list(condlist)


@composite(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Apply a function to each vector along an axis."""
    rows = np.moveaxis(as_array(arr), axis, -1)
    shape = np.shape(rows)[:-1]
    found = [as_array(func1d(rows[place], *args, **kwargs)) for place in np.ndindex(*shape)]
    joined = np.reshape(np.stack(found), shape + np.shape(found[0]))
    axis = axis_of(arr, axis)
    ends = tuple(range(len(shape), np.ndim(joined)))
    return np.moveaxis(joined, ends, tuple(range(axis, axis + len(ends))))


@composite(np.diagonal, np.linalg.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the entries along a diagonal of two axes."""
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = np.shape(a)[-2:]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = np.arange(n)
    return a[..., i - min(offset, 0), i + max(offset, 0)]


@composite(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """Return a diagonal, or a matrix that has it."""
    if np.ndim(v) == 2:
        return diagonal(v, k)
    n = np.shape(v)[0]
    places = np.diag(np.arange(1, n + 1), k)
    return np.concatenate([np.zeros(1, v.dtype), v])[places]


composite(np.compress)(
    lambda condition, a, axis=None: np.take(a, np.flatnonzero(condition), axis=axis)
)
composite(np.diagflat)(lambda v, k=0: diag(np.ravel(as_array(v)), k))
composite(np.trace, np.linalg.trace)(
    lambda a, offset=0, axis1=0, axis2=1: np.sum(diagonal(a, offset, axis1, axis2), axis=-1)
)
