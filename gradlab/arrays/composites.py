"""NumPy's functions in terms of simpler ones, for traced arrays of every library.

Each function here is plain NumPy, takes what its namesake takes, and is held to that by a test on
plain arrays. What is left to a library is a small core: ufuncs, sums and extrema, products,
reshaping, indexing, `concatenate`, `where`, a few decompositions.

Where several entries tie, the first in the order of the sort has the derivative. At 0, a norm and a
standard deviation have derivative 0, which is among their subgradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import (
    accumulate,
    composite,
    has_traced,
    held,
    refuse_function,
    values_of,
)

# Conversions


def as_array(x: Any) -> Any:
    """Return a traced array as it is, nested sequences as one array."""
    x = held(x)
    if isinstance(x, (list, tuple)) and has_traced(x):
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
    """Return an index into one axis of an array, all else kept."""
    return (slice(None),) * axis + (index,)


def count_of(x: Any, axis: Any) -> int:
    """Return how many entries a reduction over the axes has."""
    shape = np.shape(x)
    return int(np.prod([shape[i] for i in axes_of(x, axis)], dtype=np.int64))


def safe_sqrt(x: Any) -> Any:
    """Return the square root, with derivative 0 at 0."""
    positive = x > 0
    return np.where(positive, np.sqrt(np.where(positive, x, 1.0)), 0.0 * x)


# Joining, splitting, repeating


@composite(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    """Join along a new axis."""
    rows = [as_array(a) for a in arrays]
    if len({np.shape(row) for row in rows}) != 1:
        raise ValueError("all input arrays must have the same shape")
    place = int(np.lib.array_utils.normalize_axis_index(axis, np.ndim(rows[0]) + 1))
    return np.concatenate([np.expand_dims(row, place) for row in rows], axis=place)


@composite(np.vstack)
def vstack(arrays: Sequence[Any], **options: Any) -> Any:
    """Join rows."""
    return np.concatenate([np.atleast_2d(as_array(a)) for a in arrays], axis=0)


@composite(np.hstack)
def hstack(arrays: Sequence[Any], **options: Any) -> Any:
    """Join columns; vectors end to end."""
    rows = [np.atleast_1d(as_array(a)) for a in arrays]
    return np.concatenate(rows, axis=0 if np.ndim(rows[0]) == 1 else 1)


@composite(np.dstack)
def dstack(arrays: Sequence[Any]) -> Any:
    """Join along the third axis."""
    return np.concatenate([np.atleast_3d(as_array(a)) for a in arrays], axis=2)


@composite(np.column_stack)
def column_stack(arrays: Sequence[Any]) -> Any:
    """Join vectors as columns."""
    columns = [as_array(a) for a in arrays]
    return np.concatenate(
        [c if np.ndim(c) > 1 else np.reshape(c, (-1, 1)) for c in columns], axis=1
    )


@composite(np.block)
def block(arrays: Any) -> Any:
    """Join nested lists: the innermost along the last axis, and so on outwards."""

    def depth_of(node: Any) -> int:
        return 1 + max(map(depth_of, node)) if isinstance(node, list) else 0

    depth = depth_of(arrays)

    def leaves(node: Any) -> list[Any]:
        return [leaf for child in node for leaf in leaves(child)] if type(node) is list else [node]

    ndim = max([depth, *[np.ndim(as_array(leaf)) for leaf in leaves(arrays)]])

    def join(node: Any, level: int) -> Any:
        if isinstance(node, list):
            return np.concatenate([join(child, level + 1) for child in node], axis=level - depth)
        leaf = as_array(node)
        return np.reshape(leaf, (1,) * (ndim - np.ndim(leaf)) + np.shape(leaf))

    return join(arrays, 0)


@composite(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """Join two arrays."""
    arr, values = as_array(arr), as_array(values)
    if axis is None:
        arr, values, axis = np.ravel(arr), np.ravel(values), 0
    return np.concatenate([arr, values], axis=axis)


@composite(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """Insert values before the given places."""
    arr, values = as_array(arr), as_array(values)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = axis_of(arr, axis)
    n = np.shape(arr)[axis]
    places = np.insert(np.arange(n), obj, np.full(np.shape(obj) or 1, n), axis=0)
    taken = np.append(np.arange(n), n)[places]
    if not np.shape(obj):
        shape = (*np.shape(arr)[:axis], taken.size - n, *np.shape(arr)[axis + 1 :])
        values = np.broadcast_to(values, shape) if np.ndim(values) else np.full(shape, 1) * values
        rows = np.cumsum(taken == n) - 1
    else:
        rows = np.argsort(np.argsort(np.atleast_1d(obj) % (n + 1), kind="stable"))
        shape = (*np.shape(arr)[:axis], taken.size - n, *np.shape(arr)[axis + 1 :])
        values = np.take(np.broadcast_to(values, shape), np.argsort(rows), axis=axis)
        rows = np.cumsum(taken == n) - 1
    order = np.where(taken == n, n + rows, taken)
    return np.take(np.concatenate([arr, values], axis=axis), order, axis=axis)


@composite(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """Leave entries out."""
    if axis is None:
        arr, axis = np.ravel(arr), 0
    return np.take(arr, np.delete(np.arange(np.shape(arr)[axis]), obj), axis=axis)


@composite(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts, equal or between given places."""
    axis = axis_of(ary, axis)
    parts = np.array_split(np.arange(np.shape(ary)[axis]), indices_or_sections)
    ends = np.cumsum([0, *map(len, parts)])
    if not isinstance(indices_or_sections, (int, np.integer)):
        starts = [0, *indices_or_sections]
        stops: list[Any] = [*indices_or_sections, None]
        return [ary[along(axis, slice(*pair))] for pair in zip(starts, stops, strict=True)]
    return [ary[along(axis, slice(int(a), int(b)))] for a, b in pairwise(ends)]


@composite(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into equal parts, or between given places."""
    sections = indices_or_sections
    if isinstance(sections, (int, np.integer)) and np.shape(ary)[axis] % sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, sections, axis)


@composite(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split columns."""
    return split(ary, indices_or_sections, 1 if np.ndim(ary) > 1 else 0)


@composite(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split rows."""
    return split(ary, indices_or_sections, 0)


@composite(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the third axis."""
    return split(ary, indices_or_sections, 2)


@composite(np.unstack)
def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """Return the parts along an axis."""
    return tuple(np.moveaxis(x, axis, 0))


@composite(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat each entry."""
    if axis is None:
        a, axis = np.ravel(a), 0
    n = np.shape(a)[axis_of(a, axis)]
    return np.take(a, np.repeat(np.arange(n), repeats), axis=axis)


@composite(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """Repeat the whole array along its axes."""
    counts = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    ndim = max(len(counts), np.ndim(A))
    counts = (1,) * (ndim - len(counts)) + counts
    A = np.reshape(A, (1,) * (ndim - np.ndim(A)) + np.shape(A))
    for axis, count in enumerate(counts):
        if count != 1:
            A = np.take(A, np.tile(np.arange(np.shape(A)[axis]), count), axis=axis)
    return A


@composite(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """Reverse the order along axes."""
    axes = axes_of(m, axis)
    return m[tuple(slice(None, None, -1 if i in axes else None) for i in range(np.ndim(m)))]


@composite(np.fliplr)
def fliplr(m: Any) -> Any:
    """Reverse the columns."""
    return flip(m, 1)


@composite(np.flipud)
def flipud(m: Any) -> Any:
    """Reverse the rows."""
    return flip(m, 0)


@composite(np.rot90)
def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Turn by right angles in the plane of two axes."""
    a, b = axes
    match k % 4:
        case 0:
            return m[:]
        case 1:
            return np.swapaxes(flip(m, b), a, b)
        case 2:
            return flip(m, (a, b))
    return flip(np.swapaxes(m, a, b), b)


@composite(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Shift entries around."""
    if axis is None:
        return np.reshape(roll(np.ravel(a), shift, 0), np.shape(a))
    for s, i in np.broadcast(shift, axis):
        a = np.take(a, np.roll(np.arange(np.shape(a)[int(i)]), int(s)), axis=int(i))
    return a


@composite(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Move an axis to lie before another."""
    axis = axis_of(a, axis)
    start = start + np.ndim(a) if start < 0 else start
    return np.moveaxis(a, axis, start - 1 if start > axis else start)


@composite(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """Swap the last two axes."""
    return np.swapaxes(x, -1, -2)


@composite(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    """View numbers as vectors."""
    return _each(lambda x: x if np.ndim(x) else np.reshape(x, (1,)), arys)


@composite(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    """View vectors as rows."""
    return _each(lambda x: x if np.ndim(x) > 1 else np.reshape(x, (1, -1)), arys)


@composite(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    """View matrices as stacks of one."""

    def view(x: Any) -> Any:
        match np.ndim(x):
            case 0 | 1:
                return np.reshape(x, (1, -1, 1))
            case 2:
                return np.reshape(x, (*np.shape(x), 1))
        return x

    return _each(view, arys)


def _each(view: Any, arys: tuple[Any, ...]) -> Any:
    views = tuple(view(as_array(x)) for x in arys)
    return views[0] if len(views) == 1 else views


@composite(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """Repeat arrays to their common shape."""
    arrays = [as_array(a) for a in args]
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@composite(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Return coordinate matrices of coordinate vectors."""
    n = len(xi)
    grids = [
        np.reshape(as_array(x), (1,) * i + (-1,) + (1,) * (n - 1 - i)) for i, x in enumerate(xi)
    ]
    if indexing == "xy" and n > 1:
        grids = [np.swapaxes(grid, 0, 1) for grid in grids]
    return tuple(grids) if sparse else broadcast_arrays(*grids)


@composite(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    """Pad with constants, or with entries of the array."""
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap", "empty"):
        refuse_function("gradlab", np.pad)
    ndim = np.ndim(array)
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - ndim, 0)) for i in range(ndim)]
        pad_width = [(w, w) if np.ndim(w) == 0 else w for w in pad_width]
    widths = np.broadcast_to(pad_width, (ndim, 2))
    values = options.pop("constant_values", 0)
    values = values if has_traced(values) else np.broadcast_to(values, (ndim, 2))
    for axis, width in enumerate(widths):
        if not any(width):
            continue
        if mode in ("constant", "empty"):
            pair = (values, values) if has_traced(values) else values[axis]
            ends = [
                np.full((*np.shape(array)[:axis], int(w), *np.shape(array)[axis + 1 :]), 1.0) * v
                for w, v in zip(width, pair, strict=True)
            ]
            array = np.concatenate([_like(ends[0], array), array, _like(ends[1], array)], axis=axis)
        else:
            places = np.pad(np.arange(np.shape(array)[axis]), tuple(width), mode, **options)
            array = np.take(array, places, axis=axis)
    return array


def _like(x: Any, other: Any) -> Any:
    return x.astype(other.dtype)


# Picking entries


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
    """Take one entry a place of the indices, along an axis."""
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


@composite(np.compress)
def compress(condition: Any, a: Any, axis: Any = None) -> Any:
    """Take the entries where a condition holds."""
    return np.take(a, np.flatnonzero(condition), axis=axis)


@composite(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """Take the entries where a condition holds, in one dimension."""
    return np.take(np.ravel(arr), np.flatnonzero(condition))


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


@composite(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Return a matrix with all entries of an array on its diagonal."""
    return diag(np.ravel(as_array(v)), k)


@composite(np.trace, np.linalg.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sum a diagonal."""
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@composite(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """Set the entries above a diagonal to zero."""
    return np.where(np.tri(*np.shape(m)[-2:], k=k, dtype=bool), m, np.zeros(1, m.dtype))


@composite(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """Set the entries below a diagonal to zero."""
    return np.where(np.tri(*np.shape(m)[-2:], k=k - 1, dtype=bool), np.zeros(1, m.dtype), m)


# Sorting and order statistics


@composite(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Any:
    """Sort along an axis."""
    if axis is None:
        a, axis = np.ravel(a), 0
    return take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis)


@composite(np.partition)
def partition(
    a: Any, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Sort so far that some entries are in their place."""
    return take_along_axis(a, np.argpartition(a, kth, axis=axis), axis)


@composite(np.ptp)
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the largest entry less the smallest."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@composite(np.median)
def median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Return the middle entry, or the mean of the two."""
    rows, shape = _flattened(a, axis)
    s, n = sort(rows), np.shape(rows)[-1]
    result = np.mean(s[..., (n - 1) // 2 : n // 2 + 1], axis=-1)
    return np.reshape(result, shape) if keepdims else result


@composite(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    **options: Any,
) -> Any:
    """Interpolate between the sorted entries.

    Hyndman & Fan, *Sample quantiles in statistical packages*, The American Statistician 50 (1996),
    types 4 to 9, and neighbours of type 7.
    """
    if options or method not in (*_PLOTTING, *_NEIGHBOURS):
        refuse_function("gradlab", np.quantile)
    q = np.asarray(q, np.float64)
    rows, shape = _flattened(a, axis)
    s, last = sort(rows), np.shape(rows)[-1] - 1
    alpha, beta = _PLOTTING.get(method, (1.0, 1.0))
    place = np.clip((last + 1) * q + alpha + q * (1 - alpha - beta) - 1, 0, last)
    below, above = np.floor(place).astype(int), np.minimum(np.floor(place) + 1, last).astype(int)
    share = _NEIGHBOURS.get(method, lambda part: part)(place - below)
    low, high = s[..., below], s[..., above]
    result = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    result = np.moveaxis(result, range(-q.ndim, 0), range(q.ndim)) if q.ndim else result
    return np.reshape(result, q.shape + shape) if keepdims else result


_PLOTTING = {
    "linear": (1.0, 1.0),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
"""Plotting positions α and β: entry k of n is the quantile (k - α) / (n + 1 - α - β)."""

_NEIGHBOURS: dict[str, Any] = {
    "lower": lambda part: 0.0 * part,
    "higher": np.ceil,
    "midpoint": lambda part: 0.5 * np.ceil(part),
    "nearest": np.round,
}
"""What becomes of the way from one entry to the next, where they are not interpolated."""


@composite(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, **options: Any) -> Any:
    """Return the `quantile` of a percentage."""
    return quantile(a, np.true_divide(q, 100), axis, **options)


def _flattened(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """Return an array with the axes of a reduction as its last one, and the shape kept."""
    axes = axes_of(a, axis)
    shape = tuple(1 if i in axes else n for i, n in enumerate(np.shape(a)))
    kept = [i for i in range(np.ndim(a)) if i not in axes]
    rows = np.transpose(a, (*kept, *axes))
    return np.reshape(rows, (*[np.shape(a)[i] for i in kept], -1)), shape


# Sums, products, averages


@composite(np.prod)
def prod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Multiply the entries pairwise, in about log₂ n steps; zeros need no care."""
    rows, shape = _flattened(a, axis)
    while (n := np.shape(rows)[-1]) > 1:
        half = n // 2
        pairs = rows[..., :half] * rows[..., half : 2 * half]
        rows = np.concatenate([pairs, rows[..., 2 * half :]], axis=-1) if n % 2 else pairs
    result = rows[..., 0] if np.shape(rows)[-1] else np.ones(np.shape(rows)[:-1])
    return np.reshape(result, shape) if keepdims else result


@composite(np.cumprod, np.cumulative_prod)
def cumprod(a: Any, axis: Any = None, include_initial: bool = False) -> Any:
    """Return the running products."""
    if axis is None:
        a, axis = np.ravel(a), 0
    result = accumulate(np.multiply, a, axis)
    return _with_initial(result, axis, 1.0) if include_initial else result


@composite(np.cumulative_sum)
def cumulative_sum(x: Any, axis: Any = None, include_initial: bool = False) -> Any:
    """Return the running sums."""
    if axis is None:
        x, axis = np.ravel(x), 0
    result = np.cumsum(x, axis=axis)
    return _with_initial(result, axis, 0.0) if include_initial else result


def _with_initial(x: Any, axis: int, value: float) -> Any:
    axis = axis_of(x, axis)
    first = np.full((*np.shape(x)[:axis], 1, *np.shape(x)[axis + 1 :]), value, x.dtype)
    return np.concatenate([first, x], axis=axis)


@composite(np.mean)
def mean(a: Any, axis: Any = None, keepdims: bool = False, where: Any = None) -> Any:
    """Return the sum divided by the number of entries."""
    a = as_array(a)
    if where is None:
        return np.sum(a, axis=axis, keepdims=keepdims) / count_of(a, axis)
    count = np.sum(np.broadcast_to(where, np.shape(a)), axis=axis, keepdims=keepdims)
    return np.sum(a, axis=axis, keepdims=keepdims, where=where) / count


@composite(np.var)
def var(
    a: Any,
    axis: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """Return the mean square of the distance from the mean."""
    a = as_array(a)
    if mean is None:
        mean = np.mean(a, axis=axis, keepdims=True, **({} if where is None else {"where": where}))
    centred = a - mean
    squares = np.real(centred * np.conj(centred)) if np.iscomplexobj(a) else centred * centred
    ddof = ddof if correction is None else correction
    if where is None:
        return np.sum(squares, axis=axis, keepdims=keepdims) / (count_of(a, axis) - ddof)
    count = np.sum(np.broadcast_to(where, np.shape(a)), axis=axis, keepdims=keepdims)
    return np.sum(squares, axis=axis, keepdims=keepdims, where=where) / (count - ddof)


@composite(np.std)
def std(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, **options: Any) -> Any:
    """Return the square root of the variance."""
    return safe_sqrt(var(a, axis=axis, ddof=ddof, keepdims=keepdims, **options))


@composite(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """Return the weighted mean."""
    a = as_array(a)
    if weights is None:
        result, total = np.mean(a, axis=axis, keepdims=keepdims), float(count_of(a, axis))
    else:
        weights = as_array(weights)
        if np.shape(weights) != np.shape(a):
            axes = axes_of(a, axis)
            shape = [np.shape(a)[i] if i in axes else 1 for i in range(np.ndim(a))]
            weights = np.reshape(weights, shape)
        full = weights + np.zeros(np.shape(a))
        total = np.sum(full, axis=axis, keepdims=keepdims)
        result = np.sum(a * full, axis=axis, keepdims=keepdims) / total
    return (result, total + np.zeros(np.shape(result))) if returned else result


@composite(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """Return the covariance matrix of variables in rows."""
    if fweights is not None or aweights is not None:
        refuse_function("gradlab", np.cov)
    rows = _variables(m, rowvar)
    if y is not None:
        rows = np.concatenate([rows, _variables(y, rowvar)])
    free = np.shape(rows)[1] - ((0 if bias else 1) if ddof is None else ddof)
    centred = rows - np.mean(rows, axis=1, keepdims=True)
    return np.squeeze(centred @ np.conj(centred.T) / free)


def _variables(m: Any, rowvar: bool) -> Any:
    rows = np.atleast_2d(as_array(m))
    return rows if rowvar or np.shape(rows)[0] == 1 else rows.T


@composite(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """Return the correlation matrix of variables in rows."""
    c = cov(x, y, rowvar)
    if np.ndim(c) == 0:
        return c / c
    deviation = np.sqrt(np.real(diagonal(c)))
    return np.clip(c / deviation[:, None] / deviation[None, :], -1, 1)


@composite(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Sum weights by their class."""
    classes_of = values_of(as_array(x))
    if weights is None:
        return np.bincount(classes_of, minlength=minlength)
    count = max(minlength, int(np.max(classes_of, initial=-1)) + 1)
    return (classes_of == np.arange(count)[:, None]).astype(float) @ as_array(weights)


@composite(np.histogram)
def histogram(a: Any, *args: Any, **options: Any) -> Any:
    """Count entries by bins; the counts and the edges of the bins have no derivative."""
    if has_traced(options) or options.get("weights") is not None:
        refuse_function("gradlab", np.histogram)
    return np.histogram(values_of(as_array(a)), *args, **options)


@composite(np.unique)
def unique(ar: Any, **options: Any) -> Any:
    """Return the different entries in order."""
    if any(options.values()):
        refuse_function("gradlab", np.unique)
    flat = np.ravel(as_array(ar))
    return flat[np.unique(values_of(flat), return_index=True)[1]]


# Where entries are missing


def _kept(a: Any, value: float) -> Any:
    return np.where(np.isnan(a), value, a)


@composite(np.nansum)
def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Sum what is not NaN."""
    return np.sum(_kept(a, 0.0), axis=axis, keepdims=keepdims)


@composite(np.nanprod)
def nanprod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Multiply what is not NaN."""
    return prod(_kept(a, 1.0), axis=axis, keepdims=keepdims)


@composite(np.nancumsum)
def nancumsum(a: Any, axis: Any = None) -> Any:
    """Return running sums of what is not NaN."""
    return np.cumsum(_kept(a, 0.0), axis=axis)


@composite(np.nancumprod)
def nancumprod(a: Any, axis: Any = None) -> Any:
    """Return running products of what is not NaN."""
    return cumprod(_kept(a, 1.0), axis=axis)


@composite(np.nanmax)
def nanmax(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the largest entry that is not NaN."""
    return np.max(_kept(a, -np.inf), axis=axis, keepdims=keepdims)


@composite(np.nanmin)
def nanmin(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the smallest entry that is not NaN."""
    return np.min(_kept(a, np.inf), axis=axis, keepdims=keepdims)


@composite(np.nanmean)
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean of what is not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    return nansum(a, axis, keepdims) / count


@composite(np.nanvar)
def nanvar(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the variance of what is not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    centred = a - nanmean(a, axis, keepdims=True)
    return nansum(centred * centred, axis, keepdims) / (count - ddof)


@composite(np.nanstd)
def nanstd(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the standard deviation of what is not NaN."""
    return safe_sqrt(nanvar(a, axis, ddof, keepdims))


@composite(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the median of what is not NaN."""
    return nanquantile(a, 0.5, axis, keepdims=keepdims)


@composite(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, **options: Any) -> Any:
    """Return the percentile of what is not NaN."""
    return nanquantile(a, np.true_divide(q, 100), axis, **options)


@composite(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """Return the quantile of what is not NaN, row by row."""
    rows, shape = _flattened(a, axis)
    flat = np.reshape(rows, (-1, np.shape(rows)[-1]))
    found = [quantile(row[np.flatnonzero(~np.isnan(row))], q, **options) for row in flat]
    result = np.reshape(np.stack(found, axis=-1), np.shape(q) + np.shape(rows)[:-1])
    return np.reshape(result, np.shape(q) + shape) if keepdims else result


@composite(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace what is not finite."""
    limits = np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.isposinf(x), limits.max if posinf is None else posinf, x)
    return np.where(np.isneginf(x), limits.min if neginf is None else neginf, x)
