"""Columns of the Jacobian by the complex step: all outputs from one complex evaluation.

The method, its steps and its limits are those of `gradlab.gradients.differences.complex_step`. Each
output is compared with real differences along a random direction. All outputs share these
evaluations.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradlab.arrays.leaks import Watch
from gradlab.arrays.stepped import COMPLEX_STEP_ADVICE
from gradlab.derivatives.functions import Point, flat
from gradlab.derivatives.lines import Field, Line
from gradlab.derivatives.reverse import Rows, joined
from gradlab.errors import LossError, NonFiniteError
from gradlab.gradients.differences.complex_step import (
    RANDOM_DIRECTIONS,
    REAL_STEPS,
    SINGLE_STEP,
    SteppedProbe,
    contradiction,
    reason,
)
from gradlab.gradients.probing import size_of
from gradlab.gradients.slopes import Bar
from gradlab.params import Array
from gradlab.seeding import generator


class ComplexColumns(Rows):
    """The derivative of a function, column by column: `complex-step`."""

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        found, doubt = self._taken(at, SteppedFunction.columns)
        where = Field(self.function, at)
        sizes = joined([size_of(leaf) for leaf in at.leaves])
        refuted: list[tuple[str, Bar]] = []
        with where.restoring():
            for seed in range(RANDOM_DIRECTIONS if found.size else 0):
                direction = sizes * generator(seed).standard_normal(at.size)
                size = np.abs(found) @ np.abs(direction)
                refuted = refutations(where, direction, found @ direction, size)
                if not refuted:
                    break
            _refuse(refuted, where, doubt)
        return found

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v, of shape (m,)."""
        found, doubt = self._taken(at, partial(SteppedFunction.slope, tangent=tangent))
        direction = joined(tangent)
        where = Field(self.function, at)
        if direction.any():
            with where.restoring():
                _refuse(refutations(where, direction, found, np.abs(found)), where, doubt)
        return found

    def _taken(self, at: Point, take: Callable[[SteppedFunction], Array]) -> tuple[Array, str]:
        """Return derivatives, and a likely cause if they are wrong."""
        stepped = SteppedFunction(partial(flat, self.function), at.params, at.args, None)
        with stepped.restoring(), warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            found = take(stepped)
        doubt = reason(stepped)
        watch = Watch([stepped.notes])
        del stepped
        watch.clean_up(self.function, at.args)
        return found, doubt


class SteppedFunction(SteppedProbe):
    """A function whose parameters are complex, with all outputs in one vector."""

    def columns(self) -> Array:
        """Return the derivative of all outputs by all entries, shape (m, p)."""
        pairs = [(leaf, i) for leaf, x in enumerate(self.leaves) for i in range(x.size)]
        if not pairs:
            return np.zeros((self._evaluate(lambda: "").size, 0))
        return np.stack([self._column(*pair) for pair in pairs], axis=1)

    def _column(self, leaf: int, i: int) -> Array:
        x = self.leaves[leaf].reshape(-1)[i]

        def evaluate(step: float) -> tuple[Array, float]:
            h = math.ldexp(step, max(0, math.frexp(x.real)[1]))
            return self.at(leaf, i, x + 1j * h), h

        return self._derivative(evaluate)

    def slope(self, tangent: Sequence[Array]) -> Array:
        """Return the slope of all outputs along a direction, shape (m,)."""
        largest = max((float(np.abs(v).max(initial=0.0)) for v in tangent), default=0.0)
        unit = math.ldexp(1.0, math.frexp(largest or 1.0)[1])

        def evaluate(step: float) -> tuple[Array, float]:
            return self.along([v / unit for v in tangent], 1j * step), step

        return self._derivative(evaluate) * unit

    def _derivative(self, evaluate: Callable[[float], tuple[Array, float]]) -> Array:
        value, h = evaluate(self.step)
        if self.notes.single and self.step != SINGLE_STEP:
            self.step = SINGLE_STEP
            value, h = evaluate(self.step)
        self.is_real &= value.dtype.kind != "c"
        return np.asarray(value.imag, np.float64) / h

    def _evaluate(self, place: Callable[[], str], params: Any = None) -> Any:
        return self.complex_value(place, self._params if params is None else params)


def refutations(
    where: Field, direction: Array, claimed: Array, size: Array
) -> list[tuple[str, Bar]]:
    """Return the outputs whose slope real differences contradict, with these differences.

    The slopes along the direction (p,) are `claimed`, of shape (m,), and `size` is that of the
    terms that add up to each.
    """
    line, unit = where.along(direction)
    # An output that does not change is right if its slope is too small to change it.
    is_flat = size * unit * REAL_STEPS[0] <= where.epsilon * np.abs(where.centre)
    for t in (REAL_STEPS[0], -REAL_STEPS[0]):
        is_flat &= line(t)[1] == where.centre
    found = []
    for k in np.flatnonzero(~is_flat).tolist():
        against = contradiction(
            partial(_output, line, k),
            float(where.centre[k]),
            float(claimed[k] * unit),
            float(size[k] * unit),
            precision=float(where.epsilon[k]),
            doubt=where.require_steady,
        )
        if against is not None:
            name = f"{where.outputs.name(k)} is {claimed[k]:.12g} along a random direction"
            found.append((name, Bar(against.value / unit, against.error / unit)))
    return found


def _refuse(refuted: Sequence[tuple[str, Bar]], where: Field, doubt: str) -> None:
    """Raise a LossError if real differences contradict a slope."""
    for claim, found in refuted[:1]:
        where.require_steady()
        raise LossError(
            f"complex-step: the slope of {claim}, but real differences have {found.value:.12g} ± "
            f"{found.error:.1g}: {doubt}; {COMPLEX_STEP_ADVICE}"
        )


def _output(line: Line, k: int, t: float) -> float:
    value = float(line(t)[1][k])
    if np.isnan(value):
        raise NonFiniteError(
            f"complex-step cannot confirm its derivatives: {line.where.outputs.name(k)} is not "
            f"finite near the parameters; {COMPLEX_STEP_ADVICE}"
        )
    return value
