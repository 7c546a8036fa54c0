"""Repeating, reversing, shifting and padding; axes and grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array, axes_of, axis_of
from gradlab.arrays.dispatch import composite, has_traced, refuse_function


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


@composite(np.rot90)
def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Rotate by multiples of 90° in the plane of two axes."""
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


composite(np.matrix_transpose, np.linalg.matrix_transpose)(lambda x: np.swapaxes(x, -1, -2))


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


@composite(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(x: Any, window_shape: Any, axis: Any = None, **options: Any) -> Any:
    """Return all windows of an array along axes, as new axes at the end."""
    sizes = tuple(window_shape) if np.iterable(window_shape) else (window_shape,)
    places = np.arange(np.size(x)).reshape(np.shape(x))
    windows = np.lib.stride_tricks.sliding_window_view(places, sizes, axis)
    return np.ravel(x)[windows]
