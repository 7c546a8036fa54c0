"""The loss along a step: the effect of a step of any length, and its prediction by the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.params import flatten, floating, leaves_like

SECTION_POINTS = 60
"""Number of points of a section, twelve for each power of ten of its five."""

SECTION_EXTENSION = 10.0
"""Factor from the step, or the lowest point, whichever is longer, to the end of a section."""

SHORTEST_STEP = 1e-5
"""Length of the shortest step of a section, relative to the longest."""

MAX_DOUBLINGS = 40
"""Largest number of doublings of a step in search of the lowest point."""


@dataclass(frozen=True)
class Section:
    """The loss along a step of the optimiser, as a function of its learning rate.

    Attributes
    ----------
    rate : float
        The learning rate of the step; 1 if it is not known.
    loss : float
        The loss before the step.
    after : float
        The loss after the step.
    promise : float
        The decrease of the loss in the step to first order.
    rates, losses : tuple of float
        Other learning rates, and the loss after a step with each; infinite if it is not finite.
    """

    rate: float
    loss: float
    after: float
    promise: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def lowest(self) -> tuple[float, float]:
        """The learning rate with the lowest loss, and that loss."""
        i = int(np.argmin(self.losses))
        return self.rates[i], self.losses[i]


def section(
    loss: Callable[[Any], float], params: Any, gradient: Any, optimiser: Any, rate: float | None
) -> Section:
    """Return the loss along the first step of an optimiser, an object with optax's methods.

    The loss of the parameters is infinite where it is not finite. The gradient is that at `params`.
    The rate is None if it is not known.

    Examples
    --------
    >>> from gradlab import optim
    >>> found = section(lambda p: float(p**2), 1.0, 2.0, optim.sgd(0.25), 0.25)
    >>> found.loss, found.after, found.promise, round(found.lowest[0], 1)
    (1.0, 0.25, 1.0, 0.5)
    """
    leaves, structure = flatten(params)
    leaves = [floating(leaf) for leaf in leaves]
    updates, _ = optimiser.update(gradient, optimiser.init(params), params)
    changes = leaves_like(params, updates, "the updates of the optimizer")
    slopes = leaves_like(params, gradient, "the gradient")
    rate = 1.0 if rate is None else rate

    def at(other: float) -> float:
        with np.errstate(all="ignore"):
            moved = [x + other / rate * change for x, change in zip(leaves, changes, strict=True)]
        if not all(np.isfinite(leaf).all() for leaf in moved):
            return math.inf
        return loss(structure.unflatten(moved))

    before, after = at(0.0), at(rate)
    end = SECTION_EXTENSION * max(rate, _lowest(at, rate, before))
    rates = np.geomspace(SHORTEST_STEP * end, end, SECTION_POINTS).tolist()
    promise = -sum(float(np.vdot(g, u)) for g, u in zip(slopes, changes, strict=True))
    return Section(rate, before, after, promise, tuple(rates), tuple(map(at, rates)))


def _lowest(at: Callable[[float], float], rate: float, before: float) -> float:
    """Return the rate up to which doubling lowers the loss; the given one if it does not."""
    there, lowest = rate, min(before, at(rate))
    for _ in range(MAX_DOUBLINGS):
        further = at(2 * there)
        if not further < lowest:
            break
        there, lowest = 2 * there, further
    return there
