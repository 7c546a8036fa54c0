"""Numbers that are rounded inside a function: to a fixed grid, or to floating point of few bits.

``round(x, 3)`` has steps of the same size everywhere. Its derivative between the steps is zero, and
a user may want exactly that. The steps of float16 grow with the numbers, because they approximate a
smooth function. The slope of zero between them is then an artefact of rounding.
"""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.ladder import Line
from gradlab.params import Array

GRID_POINTS = 17
"""Number of equally spaced values evaluated at each place."""

GRID_PLACES = (-0.75, -0.375, 2.0, -2.0)
"""Places, in units of the scale, where the numbers inside probably have different exponents."""

EQUAL_SHARE = (0.25, 0.625)
"""Range of the share of values that equal their neighbour half a step away, if the grid at a place
has the expected step. The expected share is 0.5; it is 0 for half the step, 0.75 for twice."""


def steps_vary(line: Line, height: float, width: float, scale: float) -> bool:
    """Tell whether steps elsewhere differ in both height and width from those at 0.

    Examples
    --------
    >>> steps_vary(lambda t: (t, float(np.float16(0.7 + t))), 2.0**-11, 2.0**-11, scale=0.5)
    True
    >>> steps_vary(lambda t: (t, round(0.7 + t, 3)), 1e-3, 1e-3, scale=0.5)
    False
    """
    return any(not _same(line, place * scale, height, width / 2) for place in GRID_PLACES)


def _same(line: Line, place: float, height: float, spacing: float) -> bool:
    """Tell whether steps at a place have the same height or width, or cannot be measured there."""
    values = np.array([line(place + k * spacing)[1] for k in range(GRID_POINTS)])
    changes = np.abs(np.diff(values))
    moved: Array = changes[changes > 0]
    if not np.isfinite(values).all() or not moved.size:
        return True
    equal = 1 - moved.size / changes.size
    if EQUAL_SHARE[0] <= equal <= EQUAL_SHARE[1] and moved.max() < 1.5 * moved.min():
        return True
    ratios = moved / height
    whole = np.abs(ratios - np.round(ratios)) < 0.05
    return bool(whole.all() and (equal < EQUAL_SHARE[0] or moved.min() < 1.5 * height))
