"""Differences, integrals and interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import along, as_array, axes_of, axis_of
from gradlab.arrays.dispatch import composite


@composite(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Subtract each entry from the next, n times."""
    axis = axis_of(a, axis)
    if prepend is not None or append is not None:
        shape = (*np.shape(a)[:axis], 1, *np.shape(a)[axis + 1 :])
        parts = [as_array(part) for part in (prepend, a, append) if part is not None]
        parts = [part if np.ndim(part) else np.broadcast_to(part, shape) for part in parts]
        a = np.concatenate(parts, axis=axis)
    for _ in range(n):
        a = a[along(axis, slice(1, None))] - a[along(axis, slice(None, -1))]
    return a


@composite(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of the flattened entries."""
    parts = [to_begin, diff(np.ravel(ary)), to_end]
    given = [np.ravel(as_array(part)) for part in parts if part is not None]
    return given[0] if len(given) == 1 else np.concatenate(given)


@composite(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return second-order central differences, one-sided at the ends.

    The formulas are those of `numpy.gradient`: of second order for any spacing inside; at the ends
    of first or second order.
    """
    f = as_array(f)
    axes = axes_of(f, axis)
    spacings = list(varargs) or [1.0]
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError("invalid number of arguments")
    found = [_slopes(f, i, h, edge_order) for i, h in zip(axes, spacings, strict=True)]
    return found[0] if len(axes) == 1 else tuple(found)


def _slopes(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    y = np.moveaxis(f, axis, 0)
    n, column = np.shape(y)[0], (-1,) + (1,) * (np.ndim(y) - 1)
    if n < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, "
            "at least (edge_order + 1) elements are required."
        )
    h = np.diff(spacing) if np.ndim(spacing) else spacing * np.ones(n - 1)
    h = np.reshape(h, column)
    d, k = y[1:] - y[:-1], h
    before, after = k[:-1], k[1:]
    inner = (before**2 * d[1:] + after**2 * d[:-1]) / (before * after * (before + after))
    first, last = d[:1] / k[:1], d[-1:] / k[-1:]
    if edge_order == 2:
        second = 2 * (d[1:] / after - d[:-1] / before) / (before + after)
        first = first - k[:1] * second[:1] / 2
        last = last + k[-1:] * second[-1:] / 2
    return np.moveaxis(np.concatenate([first, inner, last]), 0, axis)


@composite(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    axis: int = 0,
) -> Any:
    """Return evenly spaced numbers."""
    start, stop = as_array(start), as_array(stop)
    parts = num - 1 if endpoint else num
    step = (stop - start) / parts if parts > 0 else (stop - start) * np.nan
    shape = np.broadcast_shapes(np.shape(start), np.shape(stop))
    t = np.reshape(np.arange(num), (-1,) + (1,) * len(shape))
    points = start + t * ((stop - start) / max(parts, 1))
    if endpoint and num > 1:
        points = np.concatenate([points[:-1], np.broadcast_to(stop, shape)[None]])
    points = np.moveaxis(points, 0, axis) if axis else points
    return (points, step) if retstep else points


@composite(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, axis: int = 0
) -> Any:
    """Return powers with evenly spaced exponents."""
    return np.power(base, linspace(start, stop, num, endpoint, axis=axis))


@composite(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, axis: int = 0) -> Any:
    """Return numbers with evenly spaced logarithms."""
    sign = np.sign(start)
    return sign * np.exp(
        linspace(np.log(sign * start), np.log(sign * stop), num, endpoint, axis=axis)
    )


@composite(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Interpolate linearly between points."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if period is not None:
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    last = np.shape(xp)[0] - 1
    if last == 0:
        y = fp[0] + 0.0 * x
    else:
        i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, last - 1)
        inside = np.where(x < xp[0], xp[0], np.where(x > xp[-1], xp[-1], x))
        y = fp[i] + (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i]) * (inside - xp[i])
    if period is None:
        y = np.where(x < xp[0], fp[0] if left is None else left, y)
        y = np.where(x > xp[-1], fp[-1] if right is None else right, y)
    return y
