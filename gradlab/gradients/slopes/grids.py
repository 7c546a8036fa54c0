"""Numbers that are rounded inside a function: to a fixed grid, or to floating point of few bits.

``round(x, 3)`` has the same steps everywhere. The slope between them, zero, is its derivative, and
may be meant. The steps of float16 grow with the numbers: they approximate a smooth function, and
the slope between them is the derivative of no function that anybody means.
"""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.ladder import Line
from gradlab.params import Array

POINTS = 17
"""Number of equally spaced values at each place."""

PLACES = (-0.75, -0.375, 2.0, -2.0)
"""Places, in units of the scale, where the numbers inside are likely to have other exponents."""

ON_GRID = (0.25, 0.75)
"""Share of values equal to their neighbour, half a step away, that shows a grid of that step."""


def grows(line: Line, height: float, width: float, scale: float) -> bool:
    """Tell whether steps of a height and width at 0 differ elsewhere in both.

    Examples
    --------
    >>> grows(lambda t: (t, float(np.float16(0.7 + t))), 2.0**-11, 2.0**-11, scale=0.5)
    True
    >>> grows(lambda t: (t, round(0.7 + t, 3)), 1e-3, 1e-3, scale=0.5)
    False
    """
    return any(not _same(line, place * scale, height, width / 2) for place in PLACES)


def _same(line: Line, place: float, height: float, spacing: float) -> bool:
    """Tell whether the steps at a place have the same height or width, or nothing is seen there."""
    values = np.array([line(place + k * spacing)[1] for k in range(POINTS)])
    changes = np.abs(np.diff(values))
    moved: Array = changes[changes > 0]
    if not np.isfinite(values).all() or not moved.size:
        return True
    equal = 1 - moved.size / changes.size
    if ON_GRID[0] <= equal <= ON_GRID[1] and moved.max() < 1.5 * moved.min():
        return True
    ratios = moved / height
    whole = np.abs(ratios - np.round(ratios)) < 0.05
    return bool(whole.all() and (equal < ON_GRID[0] or moved.min() < 1.5 * height))
