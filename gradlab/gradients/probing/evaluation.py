"""How the evaluations of a numerical gradient are done: an object that a backend holds.

A backend defines the formula of a slope from values of the loss. An `Evaluation` decides how these
values are computed: one after the other (`Loop`), from a recording of the loss (`Recorded`), or in
several processes (`gradlab.gradients.workers.Workers`). Every formula works with every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from gradlab.gradients.probing.probe import Probe
from gradlab.gradients.protocol import Loss
from gradlab.params import Array


class Method(Protocol):
    """The methods of a numerical backend that an evaluation calls."""

    name: ClassVar[str]

    def probe(self, loss: Loss, params: Any, args: tuple[Any, ...]) -> Probe:
        """Return the loss at its parameters, with the steps given to this backend."""

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""

    def plain(self) -> Method:
        """Return the same backend without the options that select the evaluation."""


Slopes: TypeAlias = Callable[[Any, Probe], list[Array]]
"""``slopes(method, probe)``: the derivative with respect to each leaf, in its shape."""


@runtime_checkable
class Evaluation(Protocol):
    """The way in which the evaluations of a gradient are done; a small frozen object."""

    def of(self, loss: Loss) -> Slopes:
        """Return the function that computes the slopes of a loss at any probe."""


@dataclass(frozen=True)
class Loop:
    """Evaluate the loss itself, in this process, for one entry after the other.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab
    >>> calls = []
    >>> def loss(x):
    ...     calls.append(1)
    ...     return np.sum(x**2)
    >>> gradlab.grad(loss, gradlab.CentralDifference(evaluation=Loop()))(np.ones(100))[0].round(6)
    np.float64(2.0)
    >>> len(calls)
    201
    """

    def of(self, loss: Loss) -> Slopes:
        """Return the function that computes the slopes of a loss; see `Evaluation`."""
        return by_leaf


def by_leaf(method: Method, probe: Probe) -> list[Array]:
    """Return the slopes of all leaves, one after the other."""
    return [method.slopes(probe, leaf) for leaf in range(len(probe.leaves))]
