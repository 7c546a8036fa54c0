"""Numerical derivatives that carry their own error bars.

Each entry of the parameters is perturbed by a ladder of steps (`gradlab.gradients.slopes`). The
truncation error is estimated from the extrapolation, and the round-off error from the noise of the
loss, so that no step and no tolerance has to be chosen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from gradlab.gradients.protocol import Loss
from gradlab.gradients.slopes import Effort, Slope
from gradlab.gradients.surface import Surface


class Estimate(NamedTuple):
    """A derivative with error bars.

    Attributes
    ----------
    value : Any
        The derivative, float64 in the structure and shapes of the parameters. Where the loss has
        a kink it is the mean of the slopes of both sides; NaN where there is no slope at all.
    error : Any
        The error bars, likewise: the derivative lies within ``value ± error``. At a kink the bar
        reaches to both sides' slopes; it is infinite if the loss does not show a slope.
    """

    value: Any
    error: Any


def derivative_with_error(
    loss: Loss, params: Any, *args: Any, dtype: DTypeLike | None = None
) -> Estimate:
    """Differentiate a loss numerically: `gradlab.derivative_with_error` for a single output."""
    surface = Surface(loss, params, args, dtype)
    slopes = [slope_of_entry(surface, i, "wide") for i in range(surface.size)]
    for i, found in enumerate(slopes):  # the rounding seen at later entries holds for all
        if found.noise < surface.rounding / 2 and found.kind != "kink":
            slopes[i] = slope_of_entry(surface, i, "wide")
    surface.restore()
    return Estimate(
        surface.hang(np.array([s.value for s in slopes], dtype=np.float64)),
        surface.hang(np.array([s.error for s in slopes], dtype=np.float64)),
    )


def slope_of_entry(
    surface: Surface, i: int, effort: Effort = "usual", claimed: float | None = None
) -> Slope:
    """Return the slope of the loss along entry `i`; see `gradlab.gradients.slopes.slope`."""
    # Only a wide look depends on what is claimed, and each on the rounding that has been seen.
    key = i, effort, claimed if effort == "wide" else None, surface.rounding
    if surface.known is not None and key in surface.known:
        return surface.known[key]
    found = surface.slope(
        surface.along_entry(i),
        scale=float(surface.scales[i]),
        reach=surface.reach(i),
        finest=surface.finest(i),
        effort=effort,
        claimed=claimed,
    )
    if surface.known is not None:
        surface.known[key] = found
    return found
