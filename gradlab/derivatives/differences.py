"""Columns of the Jacobian from values of the function alone.

A perturbation of one entry changes all outputs, so a column takes as many evaluations as one entry
of a gradient: 1, 2 or 4 for `forward`, `central` and `central4`. The formulas and their default
steps are those of `gradlab.gradients.differences`. Next to a bound, a one-sided formula of the same
order replaces a central one (`stencils.fitting`). With a sparsity, entries that share no output are
perturbed together (`sparsity`).

If the evaluations show that a formula does not suit an output, the output is measured with more of
them (`measuring`). At the end, one evaluation along a random direction is compared with the
prediction of the Jacobian. A given step is used unchanged.

`Extrapolated` is the same for Richardson extrapolation
(`gradlab.gradients.differences.richardson`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab.derivatives.functions import Function, Point
from gradlab.derivatives.lines import Field, Line, bounds_of, spread
from gradlab.derivatives.measuring import again_if_coarse, doubtful, measured, mispredicted
from gradlab.derivatives.parallel import ColumnMethod, ColumnPlan, Lines, by_workers
from gradlab.derivatives.reverse import Rows, joined
from gradlab.derivatives.sparsity import (
    groups_of,
    pattern_of,
    require_independent,
    require_pattern,
)
from gradlab.derivatives.stencils import fitting, slopes
from gradlab.errors import NonFiniteError, OptionError
from gradlab.gradients import Loop, Numerical, Workers
from gradlab.gradients.differences.richardson import LARGEST_STEP, extrapolate
from gradlab.gradients.probing import size_of
from gradlab.gradients.workers.task import Task
from gradlab.params import Array


@dataclass(frozen=True)
class Options:
    """Options of a numerical derivative, in addition to its backend."""

    bounds: Any = None  # the lowest and the highest value of each entry
    relative_step: Any = None  # the step of each entry, in proportion to its size
    sparsity: Any = None  # which output may depend on which entry, of shape (m, p)

    def given(self) -> list[str]:
        """Return the names of the options that are given."""
        return [name for name, value in vars(self).items() if value is not None]


class Differences(Rows):
    """The derivative of a function, column by column: `forward`, `central`, `central4`."""

    backend: Numerical
    precision = 0.0  # the relative error of an evaluation, if it is larger than its dtype's
    seconds = 0.0  # duration of the latest evaluation at given parameters

    @property
    def order(self) -> int:
        """The order of the truncation error."""
        return int(self.backend.order)  # type: ignore[attr-defined]

    def __init__(self, backend: Numerical, function: Function, options: Options) -> None:
        super().__init__(backend, function)
        self.options = options
        evaluation = backend.evaluated_by()
        self._workers = evaluation if isinstance(evaluation, Workers) else None
        if self._workers is not None and self._workers.resume is not None:
            raise OptionError(
                "resume= stores the slopes of a loss, one number per entry: leave it out for other "
                "derivatives, which have a number per output and entry"
            )
        if backend.evaluation is not None and not isinstance(evaluation, Workers | Loop):
            raise OptionError(
                f"evaluation={evaluation!r} is for the gradient of a loss: give Loop() or "
                "Workers() for other derivatives"
            )

    def evaluate(self, function: Function, params: Any, args: Sequence[Any]) -> Any:
        """Return the outputs of the function at the parameters; store the duration."""
        started = time.perf_counter()
        value = super().evaluate(function, params, args)
        self.seconds = time.perf_counter() - started
        return value

    def vjp(self, at: Point, weights: Array) -> list[Array]:
        """Return uᵀJ: the gradient of the weighted outputs; with options, from J itself."""
        if not self.options.given():
            return super().vjp(at, weights)
        return at.layout.parts(weights @ self.matrix(at))

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v from one perturbation of all entries.

        A given step applies to the entry that moves farthest in units of its step.
        """
        where = self.field(at)
        units = self.given_step(where, at)
        line, unit = where.along(joined(tangent), where.scales if units is None else units)
        every = np.arange(len(where.centre))
        if not np.any(line.step):
            return np.zeros(len(every))
        with where.restoring():
            if units is not None:
                return self.column(line, 1.0, every, sure=True) / unit
            found = again_if_coarse(
                where, lambda: self.column(line, self._step(where), every, both=True)
            )
        return found / unit

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        where = self.field(at)
        units = self.given_step(where, at)
        pattern = pattern_of(self.options.sparsity, len(where.centre), at.size)
        with where.restoring():
            if units is not None:
                found = self._columns(where, units, 1.0, pattern)
            else:
                units = where.scales
                found = again_if_coarse(where, lambda: self._adapted(where, pattern))
        scaled: Array = found / units
        return scaled

    def _adapted(self, where: Field, pattern: Array | None) -> Array:
        """Return J times the scales, from steps that suit the function."""
        found = self._columns(where, where.scales, self._step(where), pattern)
        wrong = mispredicted(where, found)
        for j in range(len(where.x)) if len(wrong) else ():
            rows = wrong if pattern is None else wrong[pattern[wrong, j]]
            line = where.along_entries(np.array([j]), where.scales)
            found[rows, j] = [measured(line, int(k), formula=found[k, j]) for k in rows]
        if pattern is not None and len(wrong):
            require_independent(where, mispredicted(where, found), pattern)
        return found

    # Steps

    def field(self, at: Point) -> Field:
        """Return the function around a point."""
        where = Field(self.function, at, self.backend.dtype, bounds_of(self.options.bounds, at))
        where.epsilon = np.maximum(where.epsilon, self.precision)
        return where

    def _step(self, where: Field) -> float:
        """Return the step that balances truncation and round-off, in units of the scales."""
        return float(np.exp2(np.round(np.log2(where.precision) / (self.order + 1))))

    def given_step(self, where: Field, at: Point) -> Array | None:
        """Return the given step of each entry, or None for default steps."""
        step, relative = self.backend.step, self.options.relative_step
        if step is not None and relative is not None:
            raise OptionError("step and relative_step exclude each other: give only one of them")
        if step is None and relative is None:
            return None
        option, value = ("relative_step", relative) if step is None else ("step", step)
        units = spread(value, at, option)
        if not ((units > 0) & np.isfinite(units)).all():
            raise OptionError(f"{option}={value!r}: give positive numbers")
        if step is None:
            units = units * joined([size_of(leaf) for leaf in at.leaves])
        lost = (where.x + units == where.x) | (units < where.precision * where.scales)
        if lost.any():
            j = int(np.argmax(lost))
            raise OptionError(
                f"{option}: {units[j]:.3g} is lost beside {where.name(j)} = {where.x[j]} in a "
                f"function that is exact to {where.precision:.1g}: give a larger step"
            )
        return units

    # Columns

    def _columns(self, where: Field, units: Array, h: float, pattern: Array | None) -> Array:
        """Return J times the units."""
        groups = list(self._groups(where, units, h, pattern))
        plan = ColumnPlan(groups, units, h, pattern, sure=units is not where.scales)
        found = np.zeros((len(where.centre), len(where.x)))
        columns = self._by_workers(where, plan) if self._workers and groups else None
        for number, entries in enumerate(groups):
            column = columns[number] if columns else self.column_of(where, entries, plan)
            for j in entries:
                rows = slice(None) if pattern is None else pattern[:, j]
                found[rows, j] = column[rows]
        return found

    def _groups(
        self, where: Field, units: Array, h: float, pattern: Array | None
    ) -> Iterator[Array]:
        """Yield the groups of entries that are perturbed together."""
        usual = fitting(self.order, h, -np.inf, np.inf)
        for group in groups_of(pattern, len(where.x)):
            line = where.along_entries(group, units)
            # Entries near different bounds cannot be perturbed together.
            if len(group) == 1 or fitting(self.order, h, line.low, line.high) == usual:
                yield group
            else:
                yield from (group[i:][:1] for i in range(len(group)))

    def column_of(self, where: Field, entries: Array, plan: ColumnPlan) -> Array:
        """Return the slope of each output by the one entry of the group that it depends on."""
        line = where.along_entries(entries, plan.units)
        found = np.zeros(len(where.centre))
        for i, j in enumerate(entries):
            every = np.arange(len(found))
            rows = every if plan.pattern is None else np.flatnonzero(plan.pattern[:, j])
            found[rows] = self.column(line, plan.h, rows, i, sure=plan.sure)
        if plan.pattern is not None:
            require_pattern(line, plan.pattern)
        return found

    def _by_workers(self, where: Field, plan: ColumnPlan) -> list[Array]:
        """Return the columns of all groups, by several workers."""
        assert self._workers is not None
        at = where.at
        make = partial(type(self), self.backend.plain(), options=self.options)
        method: Any = ColumnMethod(make, where.outputs, where.epsilon, plan)
        task = Task(method, at.function, at.params, at.args, 0.0, 0.0)
        seconds = self.seconds * len(fitting(self.order, plan.h, -np.inf, np.inf))
        return by_workers(self._workers, task, Lines(self, at, where.epsilon, plan), seconds)

    def column(
        self,
        line: Line,
        h: float,
        rows: Array,
        i: int = 0,
        *,
        sure: bool = False,
        both: bool = False,
    ) -> Array:
        """Return the slopes of the outputs `rows` along a line, with respect to t, for a step h.

        They depend on the i-th perturbed entry. A step that is `sure` was given, and is used
        unchanged. With `both`, a forward difference is compared with the backward one.
        """
        offsets = fitting(self.order, h, line.low, line.high)
        if not offsets:
            raise OptionError(f"bounds: {line.name} has no room for a step")
        found, bends = self._slopes(line, offsets, rows, i)
        if both and len(offsets) == 1 and line.low <= -offsets[0] <= line.high:
            bends = np.abs(found - self._slopes(line, (-offsets[0],), rows, i)[0]) / 2
        doubt = doubtful(line.where, rows, found, bends, abs(offsets[0]), self.order)
        if not doubt.any():
            return found
        line.where.require_steady()
        if sure and not np.isfinite(found).all():
            k = int(rows[np.argmax(~np.isfinite(found))])
            raise NonFiniteError(f"{line.where.outputs.name(k)} is not finite near {line.name}")
        for place in () if sure else np.flatnonzero(doubt):
            found[place] = measured(line, int(rows[place]), i)
        return found

    def _slopes(
        self, line: Line, offsets: Sequence[float], rows: Array, i: int
    ) -> tuple[Array, Array]:
        """Return the slopes of a formula, and their differences from one with a point less."""
        points = [line(t) for t in offsets]
        gone = np.array([line.distance(t, i) for t in offsets])
        if len({0.0, *gone}) <= len(gone):
            raise OptionError(f"the step vanishes beside {line.name}: give a larger step")
        changes = np.array([values[rows] for _, values in points]) - line.where.centre[rows]
        return slopes(gone, changes)


class Extrapolated(Differences):
    """The derivative of a function, column by column: `richardson`.

    Each output is extrapolated, near round-off, from about 20 evaluations, which all outputs share.
    Next to a bound, where the steps must be one-sided, the formula of fourth order is used instead.
    """

    order = 4

    def column(
        self,
        line: Line,
        h: float,
        rows: Array,
        i: int = 0,
        *,
        sure: bool = False,
        both: bool = False,
    ) -> Array:
        """Return the slopes of some outputs along a line, with respect to t; see `Differences`."""
        where = line.where
        room = min(-line.low, line.high)
        largest = 1.0 if sure else LARGEST_STEP
        fine = float(np.exp2(np.round(np.log2(where.precision) / 3)))
        if room < 4 * fine:
            return super().column(line, h, rows, i, sure=sure)
        while largest > room:
            largest /= 2
        found = [
            extrapolate(
                partial(_output, line, int(k)),
                0.0,
                largest,
                min(fine, largest / 4),
                centre=float(where.centre[k]),
                precision=float(where.epsilon[k]),
                doubt=where.require_steady,
            ).value
            for k in rows
        ]
        return np.array(found, float)


def _output(line: Line, k: int, t: Any) -> Any:
    return line(float(t))[1][k]
