"""Forward mode: the chain rule from the parameters to the loss, along one direction at a time.

autograd runs the loss on boxes that carry, beside each value, its derivative along a direction v of
the parameters: the Jacobian-vector product (JVP), which for a loss is the slope ∇f · v. It takes
two to three times the operations of an evaluation, stores no record, and yields one number:
Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, section 3.1. Reverse mode yields all p
numbers for about the same cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from autograd.core import JVPNode
from autograd.tracer import isbox, new_box, notrace_primitives, trace_stack

from gradlab.arrays.leaks import Watch
from gradlab.errors import LossError
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.protocol import Loss, ValueAndGrad, finish_gradients, real_scalar
from gradlab.gradients.tracing import trace_loss
from gradlab.params import Array, Structure, flatten, floating


@dataclass(frozen=True)
class AutogradForward:
    """Forward mode along every entry in turn: exact to round-off, at p evaluations.

    It serves for comparison: with one parameter it is the cheapest exact derivative. With many, it
    costs as much as finite differences, but is exact.

    Examples
    --------
    >>> import numpy as np
    >>> f = AutogradForward().value_and_grad(lambda x: np.sin(x[0]) * x[1])
    >>> f(np.array([0.0, 2.0]))
    (0.0, array([2., 0.]))
    """

    name = "autograd-forward"

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            leaves, structure = flatten(params)
            jvp = LossJVP(loss, [floating(leaf) for leaf in leaves], structure, args)
            direction = [np.zeros_like(leaf) for leaf in jvp.leaves]
            gradients = [np.empty(leaf.shape) for leaf in leaves]
            value = None
            for v, slopes in zip(direction, gradients, strict=True):
                for i in range(v.size):
                    v.flat[i] = 1.0
                    value, slopes.flat[i] = jvp.slope(direction)
                    v.flat[i] = 0.0
            if value is None:  # there are no entries
                value, _ = jvp.slope(direction)
            done = finish_gradients(structure.paths, gradients, leaves)
            return value, structure.unflatten(done)

        return value_and_grad


@dataclass(frozen=True)
class LossJVP:
    """A loss at its parameters, and its slope along any direction: a Jacobian-vector product."""

    loss: Loss
    leaves: list[Array]  # the parameters, in floating point
    structure: Structure
    args: tuple[Any, ...]
    warned: list[bool] = field(default_factory=lambda: [False])

    def slope(self, direction: Sequence[Array]) -> tuple[float, Any]:
        """Return the loss, and its slope along a direction in the shapes of the leaves.

        Examples
        --------
        >>> leaves, structure = flatten(np.array([3.0, 4.0]))
        >>> LossJVP(lambda x: (x * x).sum(), leaves, structure, ()).slope([np.array([1.0, 0.5])])
        (25.0, np.float64(10.0))
        """
        value, slope, watch = self._trace(direction)
        watch.clean_up(self.loss, self.args, quiet=self.warned[0])
        self.warned[0] = True  # once for all directions
        return value, slope

    def _trace(self, direction: Sequence[Array]) -> tuple[float, Any, Watch]:
        """Return value and slope; then all traced values are gone, unless the loss keeps some."""
        token = Token()
        with trace_stack.new_trace() as trace:
            boxes = [
                new_box(leaf, trace, Tangent.new_root(v, token))
                for leaf, v in zip(self.leaves, direction, strict=True)
            ]
            try:
                # 0 · ∞ along an entry, and an overflow, are reported as not finite.
                with np.errstate(over="ignore", invalid="ignore"):
                    end = trace_loss(
                        self.loss, self.leaves, boxes, self.structure, self.args, "autograd-forward"
                    )
            except NotImplementedError as error:
                raise LossError(
                    f"autograd has no forward rule for something in the loss ({error}): use the "
                    "backend autograd"
                ) from error
        watch = Watch([token])
        if isbox(end) and end._trace == trace:
            return float(real_scalar(end._value)), end._node.g, watch
        return float(real_scalar(end)), np.float64(0.0), watch


class Token:
    """Mark of one trace that each of its values refers to."""


class Tangent(JVPNode):  # type: ignore[misc]
    """autograd's node for forward mode, with a reference to its trace."""

    __slots__ = ("token",)

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any
    ) -> None:
        super().__init__(value, fun, args, kwargs, argnums, parents)
        self.token = parents[0].token

    def initialize_root(self, g: Any, token: Token) -> None:
        """Represent a parameter with the tangent g."""
        super().initialize_root(g)
        self.token = token


notrace_primitives[Tangent] = notrace_primitives[JVPNode]  # the same set, not a copy
