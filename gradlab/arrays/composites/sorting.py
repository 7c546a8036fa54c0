"""Sorting and order statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.picking import take_along_axis
from gradlab.arrays.composites.shared import as_array, flattened
from gradlab.arrays.dispatch import composite, refuse_function, values_of


@composite(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Any:
    """Sort along an axis."""
    if axis is None:
        a, axis = np.ravel(a), 0
    return take_along_axis(a, np.argsort(a, axis=axis, kind="stable"), axis)


@composite(np.median)
def median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Return the middle entry, or the mean of the two."""
    rows, shape = flattened(a, axis)
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
    rows, shape = flattened(a, axis)
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
"""How the position between two entries is rounded by the methods that do not interpolate."""


composite(np.percentile)(
    lambda a, q, axis=None, **options: quantile(a, np.true_divide(q, 100), axis, **options)
)
composite(np.partition)(
    lambda a, kth, axis=-1, **options: take_along_axis(a, np.argpartition(a, kth, axis=axis), axis)
)
composite(np.ptp)(
    lambda a, *args, **options: np.max(a, *args, **options) - np.min(a, *args, **options)
)


@composite(np.unique)
def unique(ar: Any, **options: Any) -> Any:
    """Return the different entries in order."""
    if any(options.values()):
        refuse_function("gradlab", np.unique)
    flat = np.ravel(as_array(ar))
    return flat[np.unique(values_of(flat), return_index=True)[1]]
