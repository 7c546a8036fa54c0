"""Rows of the Jacobian: vector-Jacobian products of any backend that has gradients.

With weights u, the sum Σ uₖ fₖ of the outputs is a loss, and its gradient is uᵀJ (`weighted`). The
weights are an argument of that loss, so that `tape` records it once and replays it for each row,
and `jax` compiles it once.

The product in the other direction, J v, is the derivative of uᵀJ v with respect to u, on which it
does not depend: two passes of reverse mode give one of forward mode (Christianson, *Automatic
Hessians by reverse accumulation*, IMA Journal of Numerical Analysis 12, 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from autograd.tracer import isbox, new_box, trace_stack

from gradlab.arrays.leaks import Watch
from gradlab.derivatives.functions import Function, Point, evaluated, flat, weighted
from gradlab.gradients.autograd import Autograd, Root, pull_back
from gradlab.gradients.protocol import Backend
from gradlab.gradients.tracing import trace_loss
from gradlab.params import Array, flatten, floating


class Rows:
    """The derivative of ``function(params, *args) -> outputs``, row by row: for any backend."""

    def __init__(self, backend: Backend, function: Function) -> None:
        self.backend, self.function = backend, function
        self._gradient = backend.value_and_grad(partial(weighted, function))

    def evaluate(self, function: Function, params: Any, args: Sequence[Any]) -> Any:
        """Return the outputs of the function at the parameters, in plain NumPy."""
        return evaluated(function, params, args)

    def vjp(self, at: Point, weights: Array) -> list[Array]:
        """Return uᵀJ for weights u of shape (m,), in the leaves of the parameters."""
        return flatten(self._gradient(at.params, *at.args, weights)[1])[0]

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v, of shape (m,), for a direction v in the leaves of the parameters."""
        return self.matrix(at) @ joined(tangent)

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        count = len(at.outputs.vector)
        found = np.empty((count, at.size))
        weights = np.zeros(count)
        for k in range(count):
            # Each row is a separate array, because a replay may compare data by identity.
            row = weights.copy()
            row[k] = 1.0
            found[k] = joined(self.vjp(at, row))
        return found


class TwicePulled(Rows):
    """`Rows` with J v from reverse mode applied twice: `autograd` and `tape`."""

    def __init__(self, backend: Backend, function: Function) -> None:
        super().__init__(backend, function)
        self._pushed = backend.value_and_grad(partial(_pulled_along, function))

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v as the gradient of uᵀJ v by u."""
        weights = np.ones(len(at.outputs.vector))
        found: Array = self._pushed(weights, at.params, list(tangent), at.args)[1]
        return found


class TracedOnce(TwicePulled):
    """Reverse mode of autograd: one record of the function, pulled back for each row."""

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        leaves = [floating(leaf) for leaf in at.leaves]
        found, watch = self._pull_back(at, leaves)
        watch.clean_up(self.function, at.args)
        return found

    def _pull_back(self, at: Point, leaves: list[Array]) -> tuple[Array, Watch]:
        roots = [Root.new_root() for _ in leaves]
        count = len(at.outputs.vector)
        found = np.zeros((count, at.size))
        with trace_stack.new_trace() as trace:
            boxes = [new_box(leaf, trace, root) for leaf, root in zip(leaves, roots, strict=True)]
            end = trace_loss(
                partial(flat, self.function), leaves, boxes, at.structure, at.args, "autograd"
            )
        if isbox(end) and end._trace == trace:
            seed = np.zeros(end.shape, end.dtype)
            with np.errstate(divide="ignore", invalid="ignore"):  # infinite ones are reported
                for k in range(count):
                    seed[k] = 1.0
                    found[k] = joined(pull_back(end, boxes, seed.copy()))
                    seed[k] = 0.0
        return found, Watch(roots)


def _pulled_along(
    function: Function, weights: Any, params: Any, tangent: Sequence[Any], args: Sequence[Any]
) -> Any:
    """Return uᵀJ v, differentiable by u: the slope along v of the outputs weighted by u."""
    gradient = Autograd().value_and_grad(partial(weighted, function))(params, *args, weights)[1]
    leaves = flatten(gradient, lambda value, path: value)[0]
    slope: Any = 0.0
    for share, direction in zip(leaves, tangent, strict=True):
        slope = slope + np.sum(share * direction)
    return slope


def joined(leaves: Sequence[Array]) -> Array:
    """Concatenate leaves to a vector of float64 or wider."""
    return np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in leaves)])
