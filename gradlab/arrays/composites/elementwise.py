"""Functions of single entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy._core.umath import clip as clip_ufunc  # type: ignore[attr-defined]

from gradlab.arrays.composites.shared import along, as_array, axis_of
from gradlab.arrays.dispatch import composite


@composite(np.clip, clip_ufunc)  # the method of plain arrays calls the second
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """Limit entries to an interval; one at its end keeps its derivative."""
    lowest, highest = min if a_min is None else a_min, max if a_max is None else a_max
    a = as_array(a)
    if lowest is not None:
        a = np.where(a < lowest, lowest, a)
    return a if highest is None else np.where(a > highest, highest, a)


@composite(np.sinc)
def sinc(x: Any) -> Any:
    """Return sin(πx) / (πx), 1 at 0.

    The derivative of the quotient is a difference of two numbers that are nearly equal for a small
    x. The Taylor series is used there; its ten terms reach round-off at |πx| < 1.
    """
    is_small = np.abs(x) < 1 / np.pi
    square = np.square(np.pi * np.where(is_small, x, 0.0))
    series: Any = 1.0
    for k in range(9, 0, -1):
        series = 1.0 - square / (2 * k * (2 * k + 1)) * series
    y = np.pi * np.where(is_small, 1.0, x)
    return np.where(is_small, series, np.sin(y) / y)


@composite(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    """Return a power in double precision at least."""
    x = as_array(x)
    return np.power(x.astype(np.result_type(x.dtype, np.float64)), y)


@composite(np.copysign)
def copysign(x: Any, y: Any) -> Any:
    """Return |x| with the sign of y."""
    size = np.abs(as_array(x).astype(_floating(x, y)))
    return np.where(np.signbit(y), -size, size)


@composite(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    """Return the fractional and the integral part."""
    whole = np.trunc(x)
    return x - whole, whole


@composite(np.heaviside)
def heaviside(x: Any, y: Any) -> Any:
    """Return 0 below 0, 1 above, y at 0."""
    dtype = _floating(x, y)
    return np.where(
        x == 0, as_array(y).astype(dtype), np.where(x > 0, dtype.type(1), dtype.type(0))
    )


def _floating(x: Any, y: Any) -> np.dtype[Any]:
    """Return the dtype of a ufunc of two arrays that computes in floating point."""
    dtype = np.result_type(x, y)
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


@composite(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Add multiples of a period where entries jump; they have no derivative."""
    jumps = np.diff(p, axis=axis)
    turns = np.round(jumps / period)
    if discont is not None:
        turns = np.where(np.abs(jumps) < discont, 0.0, turns)
    shift = np.cumsum(turns, axis=axis) * period
    axis = axis_of(p, axis)
    first = p[along(axis, slice(0, 1))]
    return np.concatenate([first, p[along(axis, slice(1, None))] - shift], axis=axis)


composite(np.fmod)(lambda x, y: x - y * np.trunc(x / y))
composite(np.ldexp)(lambda x, i: x * 2.0 ** np.asarray(i))
composite(np.divmod)(lambda x, y: (np.floor_divide(x, y), np.remainder(x, y)))
composite(np.positive)(lambda x: as_array(x).copy("K"))
composite(np.copy)(lambda a, order="K", subok=False: as_array(a).copy(order))
