"""A recorded loss at a point, prepared for perturbations of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.blas import available, one_thread
from gradlab.gradients.perturb.extents import Extents
from gradlab.gradients.perturb.limits import DEFAULT, Limits
from gradlab.gradients.perturb.operations import NoRule
from gradlab.gradients.perturb.plan import Plan
from gradlab.gradients.perturb.rows import RowExtents
from gradlab.gradients.perturb.scratch import release
from gradlab.gradients.perturb.simplify import simplify
from gradlab.params import Array
from gradlab.program.ir import Node, Program


class Incremental:
    """A loss at a point, prepared for perturbations of its parameters.

    Parameters
    ----------
    program : Program
        The loss: from the leaves, then the arrays of the arguments, to one number.
    inputs : sequence of ndarray
        The values of its inputs.
    threads : int, optional
        Number of threads; by default the number that NumPy's BLAS may use.
    limits : Limits, optional
        The thresholds of the engine.

    Examples
    --------
    >>> from gradlab.program.record import record
    >>> x, W = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> program = record(lambda W, x: np.sum((x @ W) ** 2), W, [x])
    >>> incremental = Incremental(program, [W, x])
    >>> rises, moves = incremental.rises(0, [np.full(W.shape, 0.5)])
    >>> rises[0]
    array([[38.25, 38.25],
           [55.25, 55.25],
           [73.25, 73.25]])
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        threads: int | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        values: dict[Node, Any] = dict(zip(program.inputs, inputs, strict=True))
        for node in program.nodes:
            operands = [values[o] if isinstance(o, Node) else o for o in node.operands]
            values[node] = node.evaluate(*operands)
        (output,) = program.outputs
        self.value: Any = values[output] if isinstance(output, Node) else output
        self.recorded = program
        self.program, origins = simplify(program)
        self._threads = available() if threads is None else threads
        self._limits = limits
        self._values = values
        self._values.update({node: values[origin] for node, origin in origins.items()})

    def rises(self, leaf: int, moves: Sequence[Array]) -> tuple[Array, Array] | None:
        """Return the change of the loss for a perturbation of each entry of a leaf in turn.

        Parameters
        ----------
        leaf : int
            Index of the input.
        moves : sequence of ndarray
            Perturbations of each entry, in the leaf's shape: for a central difference, h and -h.

        Returns
        -------
        rises : ndarray, shape (S, *leaf)
            f(x + move) - f(x), for each of the S perturbations.
        moves : ndarray, shape (S, *leaf)
            The perturbations used: the given ones if the leaf enters linearly, so that x + move
            is never formed; otherwise those that remain after x + move is rounded.

        None if an operation has no rule, or if the plain loop is faster.
        """
        plan = self.plan(leaf, len(moves))
        if plan is None:
            return None
        stacked = np.stack(moves, -1)
        if not plan.is_linear:
            x = np.asarray(self._values[self.program.inputs[leaf]])[..., None]
            stacked = (x + stacked) - x
        with np.errstate(all="ignore"), one_thread():  # the plain loop handles infinities
            rises = plan.run(stacked, self._threads)
        release()
        if not np.isfinite(rises + self.value).all():
            return None
        return np.moveaxis(rises, -1, 0).copy(), np.moveaxis(stacked, -1, 0)

    def plan(self, leaf: int, signs: int) -> Plan | None:
        """Return the plan for the perturbations of a leaf; None if the plain loop is faster.

        Parameters
        ----------
        leaf : int
            Index of the input.
        signs : int
            Number of perturbations of each entry.
        """
        for extents in (RowExtents, Extents) if self._limits.rows else (Extents,):
            try:
                node = self.program.inputs[leaf]
                plan = Plan(extents(self.program, node, self._values, signs, self._limits))
            except NoRule:
                continue
            if plan.is_faster:
                return plan
        return None
