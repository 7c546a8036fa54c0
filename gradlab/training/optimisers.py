"""The update step: how an optimiser changes the parameters by a gradient.

An optimiser is an object with two methods. ``init`` returns the state that it carries from step to
step, and ``update`` writes the parameters and the state after a step. Both work on `Vector`s: a few
contiguous blocks instead of many leaves. The loop owns the arrays, so that a step allocates none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from gradlab import options
from gradlab.training.vectors import Vector, paired

OptimiserState: TypeAlias = Sequence[Vector]
"""The state of an optimiser between steps. Checkpoints store the leaves of each vector."""


class Optimiser(Protocol):
    """The update step of a training."""

    def init(self, point: Vector) -> list[Vector]:
        """Return the state before the first step at these parameters."""

    def update(
        self,
        point: Vector,
        state: OptimiserState,
        gradient: Vector,
        new_point: Vector,
        new_state: OptimiserState,
    ) -> None:
        """Write the parameters and the state after a step into `new_point` and `new_state`.

        `new_state` may be `state` itself. `new_point` is never `point`. The values of `new_point`
        and `new_state` on entry mean nothing.
        """


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum.

    With parameters p, gradient g, velocity v, momentum μ and learning rate η::

        v  <-  μ v + g
        p  <-  p - η v

    (Sutskever et al., *On the importance of initialization and momentum*, 2013, in the form in
    which η scales the whole step.)

    Attributes
    ----------
    learning_rate : float
        η > 0.
    momentum : float
        μ, from 0 to below 1.

    Examples
    --------
    >>> point = Vector.of([np.array([1.0, 2.0])])
    >>> sgd, after = SGD(0.5, 0.0), point.another()
    >>> velocity = sgd.init(point)
    >>> sgd.update(point, velocity, Vector.of([np.array([1.0, -1.0])]), after, velocity)
    >>> after.leaves
    [array([0.5, 2.5])]
    """

    learning_rate: float
    momentum: float = 0.0

    @classmethod
    def of(cls, learning_rate: Any, momentum: Any) -> SGD:
        """Return the optimiser with these options.

        Raises
        ------
        OptionError
            If an option is out of range.
        """
        return cls(
            options.number("learning_rate", learning_rate),
            options.number(
                "momentum", momentum, "give a number from 0 to below 1", fits=lambda m: 0 <= m < 1
            ),
        )

    def init(self, point: Vector) -> list[Vector]:
        """Return the velocity before the first step: zeros."""
        return [point.another()]

    def update(
        self,
        point: Vector,
        state: OptimiserState,
        gradient: Vector,
        new_point: Vector,
        new_state: OptimiserState,
    ) -> None:
        """Write the parameters and the velocity after a step."""
        for p, v, g, new, new_v in paired(point, state[0], gradient, new_point, new_state[0]):
            if self.momentum:
                np.multiply(v, self.momentum, out=new_v)
                np.add(new_v, g, out=new_v)
            np.multiply(new_v if self.momentum else g, self.learning_rate, out=new)
            np.subtract(p, new, out=new)


def lower(learning_rate: float) -> str:
    """Return a learning rate to try where this one was too large.

    Examples
    --------
    >>> lower(0.5), lower(1e9)
    ('0.05', '0.1')
    """
    return f"{min(learning_rate / 10, 0.1):.1g}"
