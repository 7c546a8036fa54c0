"""The size of a step, leaf by leaf: norms of the gradient, the update and the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.optim.optimiser import norm
from gradlab.params import Array
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
    sizes: list[int]  # the number of entries of each leaf
    # The decrease of the loss in the step to first order: −g·Δ, for the gradient g and the change Δ
    # of the parameters.
    promise: float


def room_for(leaves: Sequence[Array]) -> Array:
    """Return memory for the change of any of these leaves."""
    return np.empty(max((leaf.nbytes for leaf in leaves), default=0), np.uint8)


def measured(loss: float, gradient: Vector, before: Vector, after: Vector, room: Array) -> Measured:
    """Return the norms of a step, computed in the memory of `room_for`.

    Examples
    --------
    >>> step = [Vector.of([np.array(leaf)]) for leaf in ([3.0, 4.0], [1.0, 0.0], [0.7, -0.4])]
    >>> found = measured(0.5, *step, room_for(step[0].leaves))
    >>> found.gradients, round(found.updates[0], 6), round(found.promise, 6)
    ([5.0], 0.5, 2.5)
    """
    gradients, updates, params, sizes, promise = [], [], [], [], 0.0
    with np.errstate(all="ignore"):
        for slope, old, new in zip(gradient.leaves, before.leaves, after.leaves, strict=True):
            change = room[: old.nbytes].view(old.dtype).reshape(old.shape)
            np.subtract(new, old, out=change)
            gradients.append(norm([slope]))
            updates.append(norm([change]))
            params.append(norm([old]))
            sizes.append(old.size)
            promise -= float(np.vdot(slope, change))
    return Measured(loss, gradients, updates, params, sizes, promise)


def peaks(before: Vector, after: Vector) -> list[float]:
    """Return the largest change of an entry of each leaf."""
    return [
        float(np.abs(new - old).max(initial=0.0))
        for old, new in zip(before.leaves, after.leaves, strict=True)
    ]
