"""The noise of a loss, estimated from differences of equally spaced values.

The k-th difference of a smooth function falls as the k-th power of the spacing. That of independent
errors of standard deviation σ has the variance σ² (2k)! / (k!)² at any spacing. The smallest σ over
the higher differences is therefore the noise (Hamming, *Introduction to Applied
Numerical Analysis*, 1971, chapter 6; Moré & Wild, *Estimating computational noise*, SIAM Journal on
Scientific Computing 33, 2011).

Values that are rounded to few bits are constant over a small spacing. A function that is not smooth
enough has large differences over a wide spacing; at a kink they grow with the spacing. The estimate
is therefore repeated at several spacings, and counts if three neighbouring spacings agree.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np

from gradlab.params import Array

SPACINGS = tuple(2.0**-e for e in (26, 20, 15, 11, 8, 6, 4))
"""Distances between neighbouring points, relative to the parameters. The first ones suit float64,
and sums of many float32 numbers, the last ones float16."""

MAX_AGREEING_RATIO = 4.0
"""Largest ratio between estimates of the noise that agree; each comes from few values. The
differences at a kink grow by more over three spacings."""

MEDIAN_OF_NORMAL = 0.6745
"""Median of the absolute value of a normal variable, in standard deviations."""

POINTS_PER_SPACING = 9
"""Number of values at one spacing: enough for sixth differences."""

DIFFERENCE_ORDERS = range(3, 7)
"""Orders of the differences from which the noise is estimated."""


def relative_noise(line: Callable[[float], float], centre: float, enough: float = 1.0) -> float:
    """Return the noise of one evaluation of a function, relative to its values near 0.

    `centre` is the value at 0. An estimate above `enough` ends the search for more noise.

    Examples
    --------
    >>> bool(relative_noise(np.exp, 1.0) < 2e-16)
    True
    >>> bool(1e-8 < relative_noise(lambda t: float(np.float32(np.exp(0.7 * t))), 1.0) < 2e-7)
    True
    """
    noise = 0.0
    seen: list[tuple[float, float]] = []
    for spacing in SPACINGS:
        values = np.array(
            [centre, *(float(line(k * spacing)) for k in range(1, POINTS_PER_SPACING))]
        )
        values /= np.abs(values).max() or 1.0
        seen.append((noise_of(values), float(np.median(np.abs(np.diff(values, 2))))))
        noise = max(noise, _agreed(seen))
        if noise > enough:
            break
    return noise


def _agreed(seen: list[tuple[float, float]]) -> float:
    """Return the noise on which three of the last four spacings agree, 0 if none do.

    Ripples look like noise at wide spacings. At a small spacing they are smooth and curved.
    """
    last = sorted(noise for noise, _ in seen[-4:])
    for low, *_, high in (last[-3:], last[:3]) if len(last) >= 3 else ():
        if high <= MAX_AGREEING_RATIO * low:
            ripple = any(n < high / 64 and bend > high / 1024 for n, bend in seen)
            return 0.0 if ripple else high
    return 0.0


def noise_of(values: Array) -> float:
    """Return the standard deviation of the errors of equally spaced values.

    Examples
    --------
    >>> noise_of(np.arange(9.0) ** 2)  # a parabola has no third difference
    0.0
    """
    found = []
    for order in DIFFERENCE_ORDERS:
        differences = np.diff(values, order)
        share = factorial(order) ** 2 / factorial(2 * order)
        found.append(float(np.sqrt(share * np.mean(differences**2))))
        if order == DIFFERENCE_ORDERS[0]:  # a kink affects only two of these, and so not the median
            found.append(float(np.sqrt(share) * np.median(np.abs(differences)) / MEDIAN_OF_NORMAL))
    return min(found)
