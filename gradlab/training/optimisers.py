"""The update step: how an optimiser changes the parameters by a gradient.

The trainer keeps parameters and the optimiser's state as `Vector`s: a few contiguous blocks instead
of many leaves. `BlockUpdate` takes the step of an optimiser of `gradlab.optim` on whole blocks. The
loop owns the arrays, so that a step allocates none. `foreign.py` has the same for any other object
with optax's protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from gradlab.optim import Optimiser
from gradlab.params import Array
from gradlab.training.vectors import Vector

OptimiserState: TypeAlias = Sequence[Vector]
"""The state of an optimiser between steps. Checkpoints store the leaves of each vector."""


class BlockUpdate:
    """The update step of an optimiser of `gradlab.optim`.

    Examples
    --------
    >>> from gradlab import optim
    >>> point = Vector.of([np.array([1.0, 2.0])])
    >>> step, after = BlockUpdate(optim.sgd(0.5)), point.another()
    >>> state = step.init(point)
    >>> step.update(0, point, state, Vector.of([np.array([1.0, -1.0])]), after, state)
    >>> after.leaves
    [array([0.5, 2.5])]
    """

    def __init__(self, optimiser: Optimiser) -> None:
        self.optimiser = optimiser
        self.whole_data = optimiser.whole_data
        self._gradient: Vector | None = None
        self._spare: Sequence[Array | None] = ()

    def rate(self, count: int) -> float:
        """Return the learning rate after `count` steps."""
        return self.optimiser.rate(count)

    def init(self, point: Vector) -> list[Vector]:
        """Return the state before the first step at these parameters."""
        self._gradient = None
        needed = self.optimiser.needs_spare
        self._spare = point.another().blocks if needed else [None] * len(point.blocks)
        slots = [point.another() for _ in self.optimiser.slots]
        for vector in slots:
            for block in vector.blocks:
                block.fill(self.optimiser.initial)
        return slots

    def update(
        self,
        count: int,
        point: Vector,
        state: OptimiserState,
        gradient: Vector,
        new_point: Vector,
        new_state: OptimiserState,
    ) -> None:
        """Write the parameters and the state after a step into `new_point` and `new_state`.

        `count` steps were taken before. `new_state` may be `state` itself. `new_point` is never
        `point`. The values of `new_point` and `new_state` on entry are not used.
        """
        self.optimiser.write(
            count,
            point.blocks,
            self._in_blocks(gradient, point).blocks,
            [slot.blocks for slot in state],
            [slot.blocks for slot in new_state],
            new_point.blocks,
            self._spare,
        )
        for before, after in zip(point.blocks, new_point.blocks, strict=True):
            np.add(before, after, out=after)

    def _in_blocks(self, gradient: Vector, point: Vector) -> Vector:
        """Return a gradient whose leaves lie in blocks as those of the point do.

        Most backends return leaves of their own, in any memory order.
        """
        if gradient.blocks is not gradient.leaves:
            return gradient
        if self._gradient is None:
            self._gradient = point.another()
        for mine, leaf in zip(self._gradient.leaves, gradient.leaves, strict=True):
            mine[...] = leaf
        return self._gradient


def lower(learning_rate: float) -> str:
    """Return a learning rate to try if this one was too large.

    Examples
    --------
    >>> lower(0.5), lower(1e9)
    ('0.05', '0.1')
    """
    return f"{min(learning_rate / 10, 0.1):.1g}"
