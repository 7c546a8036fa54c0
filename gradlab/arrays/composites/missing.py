"""Reductions of the entries that are not NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import flattened, safe_sqrt
from gradlab.arrays.composites.sorting import quantile
from gradlab.arrays.dispatch import composite


def _kept(a: Any, value: float) -> Any:
    return np.where(np.isnan(a), value, a)


def _without_nan(function: Any, value: float) -> Any:
    """Return a reduction, or running results, in which NaN counts as a neutral value."""
    return lambda a, *args, **options: function(_kept(a, value), *args, **options)


nansum = composite(np.nansum)(_without_nan(np.sum, 0.0))
composite(np.nanprod)(_without_nan(np.prod, 1.0))
composite(np.nancumsum)(_without_nan(np.cumsum, 0.0))
composite(np.nancumprod)(_without_nan(np.cumprod, 1.0))
composite(np.nanmax)(_without_nan(np.max, -np.inf))
composite(np.nanmin)(_without_nan(np.min, np.inf))


@composite(np.nanmean)
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean of the entries that are not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    return nansum(a, axis, keepdims=keepdims) / count


@composite(np.nanvar)
def nanvar(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the variance of the entries that are not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    centred = a - nanmean(a, axis, keepdims=True)
    return nansum(centred * centred, axis, keepdims=keepdims) / (count - ddof)


@composite(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """Return the quantile of the entries that are not NaN, row by row."""
    rows, shape = flattened(a, axis)
    flat = np.reshape(rows, (-1, np.shape(rows)[-1]))
    found = [quantile(row[np.flatnonzero(~np.isnan(row))], q, **options) for row in flat]
    result = np.reshape(np.stack(found, axis=-1), np.shape(q) + np.shape(rows)[:-1])
    return np.reshape(result, np.shape(q) + shape) if keepdims else result


composite(np.nanpercentile)(
    lambda a, q, axis=None, **options: nanquantile(a, np.true_divide(q, 100), axis, **options)
)
composite(np.nanmedian)(
    lambda a, axis=None, keepdims=False: nanquantile(a, 0.5, axis, keepdims=keepdims)
)
composite(np.nanstd)(lambda a, *args, **options: safe_sqrt(nanvar(a, *args, **options)))


@composite(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace NaN and infinities."""
    given, limits = x, np.finfo(x.dtype)
    x = np.where(np.isnan(x), nan, x)
    x = np.where(np.isposinf(x), limits.max if posinf is None else posinf, x)
    x = np.where(np.isneginf(x), limits.min if neginf is None else neginf, x)
    if copy:
        return x
    given[...] = x
    return given
