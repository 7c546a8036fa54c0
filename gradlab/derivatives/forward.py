"""Columns of the Jacobian by forward mode: J v for one evaluation with its slope.

autograd runs the function on boxes that hold each value and its derivative along v: Griewank &
Walther, *Evaluating Derivatives*, 2nd ed., 2008, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from autograd.tracer import isbox, new_box, trace_stack

from gradlab.arrays.leaks import Watch
from gradlab.derivatives.functions import Point, flat
from gradlab.derivatives.reverse import Rows
from gradlab.errors import LossError
from gradlab.gradients.forward_mode import Tangent, Token
from gradlab.gradients.tracing import trace_loss
from gradlab.params import Array, floating


class ForwardColumns(Rows):
    """The derivative of a function, column by column: `autograd-forward`."""

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v, of shape (m,)."""
        found, watch = self._push(at, tangent)
        watch.clean_up(self.function, at.args)
        return found

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        found = np.empty((len(at.outputs.vector), at.size))
        direction = np.zeros(at.size)
        for j in range(at.size):
            direction[j] = 1.0
            found[:, j] = self.jvp(at, at.layout.parts(direction.copy()))
            direction[j] = 0.0
        return found

    def _push(self, at: Point, tangent: Sequence[Array]) -> tuple[Array, Watch]:
        """Return J v; then all traced values are gone, unless the function keeps some."""
        token = Token()
        leaves = [floating(leaf) for leaf in at.leaves]
        function = partial(flat, self.function)
        with trace_stack.new_trace() as trace:
            boxes = [
                new_box(leaf, trace, Tangent.new_root(np.asarray(v, leaf.dtype), token))
                for leaf, v in zip(leaves, tangent, strict=True)
            ]
            try:
                # 0 · ∞ along an entry, and an overflow, are reported as not finite.
                with np.errstate(over="ignore", invalid="ignore"):
                    end = trace_loss(
                        function, leaves, boxes, at.structure, at.args, "autograd-forward"
                    )
            except NotImplementedError as error:
                raise LossError(
                    f"autograd has no forward rule for something in the function ({error}): use "
                    "the backend autograd"
                ) from error
        if isbox(end) and end._trace == trace:
            return np.asarray(end._node.g, float), Watch([token])
        return np.zeros(len(at.outputs.vector)), Watch([token])
