"""Difference formulas as points and weights.

A formula evaluates f at the offsets t₁, ..., tₖ from a point and weights the changes f(tᵢ) − f(0).
The weights follow from the offsets: they make the formula exact for polynomials of degree k
(`weights`; Fornberg, *Generation of finite difference formulas on arbitrarily spaced grids*,
Mathematics of Computation 51, 1988). So the same code serves central, one-sided and
asymmetric formulas, and rounded offsets.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from gradlab.params import Array

CENTRAL_OFFSETS: dict[int, tuple[int, ...]] = {1: (1,), 2: (1, -1), 4: (1, -1, 2, -2)}
"""Offsets in steps, nearest first, of the formula whose error is of order h, h² and h⁴."""

ONE_SIDED_OFFSETS: dict[int, tuple[int, ...]] = {1: (1,), 2: (1, 2), 4: (1, 2, 3, 4)}
"""Offsets of the one-sided formula of the same order."""


def weights(offsets: Array, order: int = 1) -> Array:
    """Return w for which Σ wᵢ (f(tᵢ) − f(0)) is a derivative of f at 0.

    The k offsets tᵢ are different from each other and from 0; the order is at most k.

    Examples
    --------
    >>> weights(np.array([0.5, -0.5]))
    array([ 1., -1.])
    >>> weights(np.array([1.0, 2.0]))  # (4 f(1) − f(2) − 3 f(0)) / 2
    array([ 2. , -0.5])
    """
    width = float(np.abs(offsets).max())
    scaled = offsets / width
    powers = scaled[None, :] ** np.arange(1, len(offsets) + 1)[:, None]
    wanted = np.zeros(len(offsets))
    wanted[order - 1] = factorial(order)
    found: Array = np.linalg.solve(powers, wanted) / width**order
    return found


def fitting(order: int, h: float, low: float, high: float) -> tuple[float, ...]:
    """Return the offsets of a formula whose points lie within ``[low, high]`` around 0.

    Its error has the order 1, 2 or 4. The central formula with the step h is used if it fits;
    otherwise a one-sided one to the side with more room, with a smaller step if necessary. The
    nearest offset comes first; there is none if there is no room for normal numbers.

    Examples
    --------
    >>> fitting(2, 0.1, -1.0, 1.0), fitting(2, 0.1, 0.0, 1.0), fitting(2, 0.1, 0.0, 0.1)
    ((0.1, -0.1), (0.1, 0.2), (0.03125, 0.0625))
    """
    central = tuple(k * h for k in CENTRAL_OFFSETS[order])
    if low <= min(central) and max(central) <= high:
        return central
    side = 1.0 if high >= -low else -1.0
    room = max(high, -low)
    farthest = ONE_SIDED_OFFSETS[order][-1]
    if room < farthest * h:
        h = float(np.exp2(np.floor(np.log2(room / farthest)))) if room > 0 else 0.0
        h = room / farthest if h * farthest > room else h
    if not h >= np.finfo(float).smallest_normal:
        return ()
    return tuple(side * k * h for k in ONE_SIDED_OFFSETS[order])


def slopes(offsets: Array, changes: Array) -> tuple[Array, Array]:
    """Return the slope of each output, and its difference from the formula with one point less.

    The changes f(tᵢ) − f(0) at k offsets have the shape (k, m), the results (m,). The difference is
    zero if there is only one point.

    Examples
    --------
    >>> t = np.array([0.5, -0.5])
    >>> slopes(t, ((3 + t) ** 2 - 9)[:, None])
    (array([6.]), array([0.5]))
    """
    found: Array = weights(offsets) @ changes
    if len(offsets) == 1:
        return found, np.zeros_like(found)
    fewer = weights(offsets[:-1]) @ changes[:-1]
    return found, np.abs(found - fewer)
