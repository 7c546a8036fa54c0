"""Reductions of the entries that are not NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.reductions import cumprod, prod
from gradlab.arrays.composites.shared import flattened, safe_sqrt
from gradlab.arrays.composites.sorting import quantile
from gradlab.arrays.dispatch import composite


def _kept(a: Any, value: float) -> Any:
    return np.where(np.isnan(a), value, a)


@composite(np.nansum)
def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Sum the entries that are not NaN."""
    return np.sum(_kept(a, 0.0), axis=axis, keepdims=keepdims)


@composite(np.nanprod)
def nanprod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Multiply the entries that are not NaN."""
    return prod(_kept(a, 1.0), axis=axis, keepdims=keepdims)


@composite(np.nancumsum)
def nancumsum(a: Any, axis: Any = None) -> Any:
    """Return running sums; NaN counts as 0."""
    return np.cumsum(_kept(a, 0.0), axis=axis)


@composite(np.nancumprod)
def nancumprod(a: Any, axis: Any = None) -> Any:
    """Return running products; NaN counts as 1."""
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
    """Return the mean of the entries that are not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    return nansum(a, axis, keepdims) / count


@composite(np.nanvar)
def nanvar(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the variance of the entries that are not NaN."""
    count = np.sum(~np.isnan(a), axis=axis, keepdims=keepdims)
    centred = a - nanmean(a, axis, keepdims=True)
    return nansum(centred * centred, axis, keepdims) / (count - ddof)


@composite(np.nanstd)
def nanstd(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """Return the standard deviation of the entries that are not NaN."""
    return safe_sqrt(nanvar(a, axis, ddof, keepdims))


@composite(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the median of the entries that are not NaN."""
    return nanquantile(a, 0.5, axis, keepdims=keepdims)


@composite(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, **options: Any) -> Any:
    """Return the percentile of the entries that are not NaN."""
    return nanquantile(a, np.true_divide(q, 100), axis, **options)


@composite(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
    """Return the quantile of the entries that are not NaN, row by row."""
    rows, shape = flattened(a, axis)
    flat = np.reshape(rows, (-1, np.shape(rows)[-1]))
    found = [quantile(row[np.flatnonzero(~np.isnan(row))], q, **options) for row in flat]
    result = np.reshape(np.stack(found, axis=-1), np.shape(q) + np.shape(rows)[:-1])
    return np.reshape(result, np.shape(q) + shape) if keepdims else result


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
