"""The size of a step, leaf by leaf: norms of the gradient, the update and the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gradlab.optim.optimiser import norm
from gradlab.params import Array
from gradlab.training.vectors import Vector


@dataclass
class Measured:
    """A step in numbers."""

    loss: float  # the loss of the minibatch, before the step
    # For each leaf, the norms of its gradient, of its change in the step, and of the leaf itself
    # before the step.
    gradients: list[float] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)
    params: list[float] = field(default_factory=list)
    # For each leaf, the largest change of an entry, and the number of entries.
    peaks: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    # The decrease of the loss in the step to first order: −g·Δ, for the gradient g and the change Δ
    # of the parameters.
    promise: float = 0.0


def room_for(leaves: Sequence[Array]) -> Array:
    """Return memory for the change of any of these leaves."""
    return np.empty(max((leaf.nbytes for leaf in leaves), default=0), np.uint8)


def measured(loss: float, gradient: Vector, before: Vector, after: Vector, room: Array) -> Measured:
    """Return the norms of a step, computed in the memory of `room_for`.

    Examples
    --------
    >>> step = [Vector.of([np.array(leaf)]) for leaf in ([3.0, 4.0], [1.0, 0.0], [0.7, -0.4])]
    >>> found = measured(0.5, *step, room_for(step[0].leaves))
    >>> found.gradients, round(found.updates[0], 6), round(found.promise, 6), found.peaks
    ([5.0], 0.5, 2.5, [0.4])
    """
    found = Measured(loss)
    with np.errstate(all="ignore"):
        for slope, old, new in zip(gradient.leaves, before.leaves, after.leaves, strict=True):
            change = room[: old.nbytes].view(old.dtype)  # flat: its maximum needs no memory
            np.subtract(new, old, out=change.reshape(old.shape))
            found.gradients.append(norm([slope]))
            found.updates.append(norm([change]))
            found.params.append(norm([old]))
            peak = np.maximum(change.max(initial=0.0), -change.min(initial=0.0))
            found.peaks.append(float(peak))
            found.sizes.append(old.size)
            found.promise -= float(np.vdot(slope, change))
    return found
