"""The outputs of hidden layers: which units are dead, and whether a layer is saturated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradlab.params import Array

SATURATION_DISTANCE = 0.01
"""Distance from a bound of 0, 1 or -1 at which an output is saturated: the derivative of a sigmoid
is then below 4 % of its largest value, that of tanh below 2 %."""

MAX_DEAD_VARIATION = 1e-6
"""Variation of a unit's output over all samples up to which the unit is dead. A weight of order 1
behind it then changes no more than the rounding of float32 does."""

MIN_SHARE_PER_BOUND = 0.1
"""Share of a layer's outputs near each bound from which the layer counts as saturated. A layer of
relu has many outputs of 0, but none is near an upper bound."""


@dataclass(frozen=True)
class Layer:
    """The units of a layer.

    Attributes
    ----------
    units : int
        Their number.
    dead : int
        The number of units that return the same for all samples, within `MAX_DEAD_VARIATION`: no
        gradient passes through them, and their outputs do not depend on the input.
    saturated : float
        The share of outputs at the bounds of a sigmoid or tanh; 0 if there are no bounds.
    """

    units: int
    dead: int
    saturated: float


def layer(outputs: Array) -> Layer:
    """Judge the outputs (samples, units) of a layer.

    Examples
    --------
    >>> layer(np.array([[0.0, 1.5, 0.3], [0.0, 2.5, 0.7]]))
    Layer(units=3, dead=1, saturated=0.0)
    >>> layer(np.array([[1e-9, 0.2], [5e-9, 0.4]]))  # a sigmoid far on one side
    Layer(units=2, dead=1, saturated=0.0)
    >>> layer(np.array([[0.999, 0.001], [0.0, 1.0]]))
    Layer(units=2, dead=0, saturated=1.0)
    """
    rows = outputs.reshape(len(outputs), -1)
    with np.errstate(invalid="ignore"):
        dead = int(np.sum(np.ptp(rows, axis=0) <= MAX_DEAD_VARIATION)) if len(rows) else 0
    return Layer(rows.shape[1], dead, _saturated(rows))


def _saturated(rows: Array) -> float:
    if not rows.size or np.min(rows) < -1 or not np.max(rows) <= 1:
        return 0.0
    lower = (
        np.mean(rows < SATURATION_DISTANCE)
        if np.min(rows) >= 0
        else np.mean(rows < SATURATION_DISTANCE - 1)
    )
    upper = np.mean(rows > 1 - SATURATION_DISTANCE)
    return float(lower + upper) if min(lower, upper) >= MIN_SHARE_PER_BOUND else 0.0
