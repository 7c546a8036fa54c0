"""A recorded loss at a point: how it changes if each entry of its parameters changes in turn.

This is the entry point of the package. `PerturbedLoss` holds the program and the value of each of
its nodes at the point. For each leaf it makes a plan, which computes the changes of the loss for
perturbations of all entries at once; the plan says itself whether it is faster than a plain loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.blas import available, one_thread
from gradlab.gradients.perturb.extents import Extents
from gradlab.gradients.perturb.limits import DEFAULT_LIMITS, Limits
from gradlab.gradients.perturb.operations import NoRule
from gradlab.gradients.perturb.plan import Plan
from gradlab.gradients.perturb.rows import RowExtents
from gradlab.gradients.perturb.scratch import release
from gradlab.gradients.perturb.simplify import simplify
from gradlab.params import Array
from gradlab.program.ir import Node, Program


class PerturbedLoss:
    """A recorded loss at a point.

    The program computes one number from the leaves of the parameters and the arrays of the
    arguments, whose values are `inputs`. By default there are as many threads as BLAS may use.

    Examples
    --------
    >>> from gradlab.program.record import record
    >>> x, W = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> program = record(lambda W, x: np.sum((x @ W) ** 2), W, [x])
    >>> changes, perturbations = PerturbedLoss(program, [W, x]).changes(0, [np.full((3, 2), 0.5)])
    >>> changes[0]
    array([[38.25, 38.25],
           [55.25, 55.25],
           [73.25, 73.25]])
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        threads: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        values = program.values(inputs)
        (output,) = program.outputs
        self.value: Any = values[output] if isinstance(output, Node) else output
        self.recorded = program
        # In the program that is evaluated, sigmoids and squares are one operation each.
        self.program, origins = simplify(program)
        self._values = values | {node: values[origin] for node, origin in origins.items()}
        self._threads = available() if threads is None else threads
        self._limits = limits

    def changes(self, leaf: int, perturbations: Sequence[Array]) -> tuple[Array, Array] | None:
        """Return the change of the loss for a perturbation of each entry of a leaf in turn.

        There are S perturbations of each entry, in the leaf's shape: for a central difference, h
        and -h. The results have the shape (S, *leaf): f(x + perturbation) - f(x), and the
        perturbations used. These are the given ones if the leaf enters linearly, so that
        x + perturbation is never formed; otherwise what remains of them after its rounding.

        None if the plain loop must evaluate the loss: an operation has no rule, a value is not
        finite, or the loop is faster.
        """
        plan = self.plan(leaf, len(perturbations))
        if plan is None:
            return None
        used = np.stack(perturbations, -1)  # (*leaf, S), as the plan has them
        if not plan.is_linear:
            x = np.asarray(self._values[self.program.inputs[leaf]])[..., None]
            used = (x + used) - x
        with np.errstate(all="ignore"), one_thread():  # the plain loop handles infinities
            changes = plan.run(used, self._threads)
        release()
        if not np.isfinite(changes + self.value).all():
            return None
        return np.moveaxis(changes, -1, 0).copy(), np.moveaxis(used, -1, 0)

    def plan(self, leaf: int, signs: int) -> Plan | None:
        """Return the plan for `signs` perturbations of each entry of a leaf.

        A plan that treats each row of the batch separately does least; without a separable batch
        axis, a perturbation passes through all rows. None if the plain loop is faster than both.
        """
        node = self.program.inputs[leaf]
        for extents in (RowExtents, Extents) if self._limits.rows else (Extents,):
            try:
                plan = Plan(extents(self.program, node, self._values, signs, self._limits))
            except NoRule:
                continue
            if plan.is_faster:
                return plan
        return None
