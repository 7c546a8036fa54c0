"""How the evaluations of a numerical gradient are done: a value that a backend holds.

A backend knows a formula: which values of the loss make a slope. An `Evaluation` knows how to get
them: one after the other (`Loop`), from a recording of the loss (`Recorded`), or from several
processes (`gradlab.gradients.workers.Workers`). Each formula works with each evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from gradlab.gradients.probing.probe import Probe
from gradlab.gradients.protocol import Loss
from gradlab.params import Array


class Method(Protocol):
    """What an evaluation asks of a numerical backend."""

    name: ClassVar[str]

    def probe(self, loss: Loss, params: Any, args: tuple[Any, ...]) -> Probe:
        """Return the loss at its parameters, with the steps that this backend was given."""

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""

    def plain(self) -> Method:
        """Return the same backend, without what says who evaluates the loss."""


Slopes: TypeAlias = Callable[[Any, Probe], list[Array]]
"""``slopes(method, probe)``: the derivative with respect to each leaf, in its shape."""


@runtime_checkable
class Evaluation(Protocol):
    """How the evaluations of a gradient are done; a small frozen object."""

    def of(self, loss: Loss) -> Slopes:
        """Return the function that takes the slopes of a loss, wherever it is probed."""


@dataclass(frozen=True)
class Loop:
    """The loss itself, evaluated in this process for one entry after the other.

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
        """Return the function that takes the slopes of a loss; see `Evaluation`."""
        return by_leaf


def by_leaf(method: Method, probe: Probe) -> list[Array]:
    """Return the slopes of all leaves, one after the other."""
    return [method.slopes(probe, leaf) for leaf in range(len(probe.leaves))]
