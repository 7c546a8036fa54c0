"""The size of a step, leaf by leaf: norms of the gradient, the update and the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradlab.optim.optimiser import norm
from gradlab.training.vectors import Vector


@dataclass(frozen=True)
class Measured:
    """A step in numbers."""

    loss: float  # the loss of the minibatch, before the step
    # For each leaf, the norms of its gradient, of its change in the step, and of the leaf itself
    # before the step.
    gradients: list[float]
    updates: list[float]
    params: list[float]
    peaks: list[float]  # the largest change of an entry of each leaf
    sizes: list[int]  # the number of entries of each leaf
    # The decrease of the loss in the step to first order: −g·Δ, for the gradient g and the change Δ
    # of the parameters.
    promise: float


def measured(loss: float, gradient: Vector, before: Vector, after: Vector) -> Measured:
    """Return the norms of a step.

    Examples
    --------
    >>> step = [Vector.of([np.array(leaf)]) for leaf in ([3.0, 4.0], [1.0, 0.0], [0.7, -0.4])]
    >>> found = measured(0.5, *step)
    >>> found.gradients, round(found.updates[0], 6), round(found.promise, 6), found.peaks
    ([5.0], 0.5, 2.5, [0.4])
    """
    with np.errstate(all="ignore"):
        changes = [new - old for old, new in zip(before.leaves, after.leaves, strict=True)]
        return Measured(
            loss,
            gradients=[norm([slope]) for slope in gradient.leaves],
            updates=[norm([change]) for change in changes],
            params=[norm([leaf]) for leaf in before.leaves],
            peaks=[float(np.abs(change).max(initial=0.0)) for change in changes],
            sizes=[leaf.size for leaf in before.leaves],
            promise=-sum(map(float, map(np.vdot, gradient.leaves, changes))),
        )
