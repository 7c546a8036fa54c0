"""Sums, products and averages."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import (
    accumulate,
    as_array,
    axes_of,
    axis_of,
    count_of,
    flattened,
    safe_sqrt,
)
from gradlab.arrays.dispatch import composite


@composite(np.prod)
def prod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Multiply the entries pairwise, in about log₂ n steps; zeros need no care."""
    rows, shape = flattened(a, axis)
    while (n := np.shape(rows)[-1]) > 1:
        half = n // 2
        pairs = rows[..., :half] * rows[..., half : 2 * half]
        rows = np.concatenate([pairs, rows[..., 2 * half :]], axis=-1) if n % 2 else pairs
    result = rows[..., 0] if np.shape(rows)[-1] else np.ones(np.shape(rows)[:-1])
    return np.reshape(result, shape) if keepdims else result


def _running(ufunc: Any, x: Any, axis: Any, include_initial: bool = False) -> Any:
    """Return the running results of a ufunc; with `include_initial`, after its identity."""
    if axis is None:
        x, axis = np.ravel(x), 0
    result = accumulate(ufunc, x, axis)
    if not include_initial:
        return result
    shape = [1 if i == axis_of(x, axis) else n for i, n in enumerate(np.shape(x))]
    return np.concatenate([np.full(shape, ufunc.identity, result.dtype), result], axis=axis)


composite(np.cumprod, np.cumulative_prod)(
    lambda a, axis=None, **options: _running(np.multiply, a, axis, **options)
)
composite(np.cumulative_sum)(lambda x, axis=None, **options: _running(np.add, x, axis, **options))


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


composite(np.std)(lambda a, *args, **options: safe_sqrt(var(a, *args, **options)))


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
