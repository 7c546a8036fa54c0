"""The ladder: pairs of points around 0, and a function that caches its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gradlab.params import Array

Line: TypeAlias = Callable[[float], tuple[float, float]]
"""``line(t) -> (realised t, value there)``; the value is NaN where there is none."""

QUICK_RUNGS = (-8, -10, -12, -22, -34)
"""Exponents log₂(h / scale) of the rungs that suffice for most functions: three coarse ones for the
extrapolation, two finer ones to confirm it. They hold for 52 bits, and `steps_of` scales them to
the precision of the values."""

COARSE_RUNGS = (-2, -3, -4, -6, -9, -13)
"""Exponents of the rungs that suffice for most functions whose values have about 23 bits."""

FAR_RUNGS = (-3, -5)
"""Exponents of two far rungs, which test whether the finer rungs predict the function there."""

HORIZON_RUNGS = (-2, -3, -4, -5, -6)
"""Exponents of the farthest rungs, which are searched for jumps of a solver inside."""

INNER_RUNGS = tuple(range(-8, -46, -2))
"""Exponents of the rungs up to scale/256; larger steps may leave the domain of the function."""

LADDER = (-2, -4, -6, *INNER_RUNGS)
"""Exponents of the whole ladder."""

FINE_LADDER = tuple(range(0, -46, -1))
"""Exponents of the ladder with twice as many rungs."""

OUTWARD_RUNGS = (2, 0)
"""Exponents of rungs beyond the ladder, for a function that is constant on it."""

FLOAT64_BITS = 52
"""Bits of the fraction of float64, for which the exponents above hold."""

THIRD_POINT = 1.375
"""Place of a rung's third point, in units of the step. Rounding is often symmetric around the
centre; the third point detects it, since no step of the ladder mirrors it at this ratio."""


def steps_of(exponents: Sequence[int], scale: float, finest: float, bits: int) -> list[float]:
    """Return the steps of the rungs, coarsest first."""
    scaled = {round(e * bits / FLOAT64_BITS) if e < 0 else e for e in exponents}
    steps = (float(np.ldexp(scale, e)) for e in sorted(scaled, reverse=True))
    return [h for h in steps if h >= finest]


@dataclass(frozen=True)
class Rungs:
    """The values at ±h, coarsest step first; NaN where there is no value."""

    centre: float
    h: Array
    above: Array  # realised distance of the upper point
    plus: Array  # the value there
    below: Array
    minus: Array
    third: Array  # realised t of the third point
    third_value: Array  # the value there

    def __getitem__(self, which: Array) -> Rungs:
        columns = (
            self.h,
            self.above,
            self.plus,
            self.below,
            self.minus,
            self.third,
            self.third_value,
        )
        return Rungs(self.centre, *(column[which] for column in columns))

    @property
    def even(self) -> Array:
        """Second differences: h² times the second derivative, if smooth."""
        return self.plus + self.minus - 2 * self.centre

    @property
    def central(self) -> Array:
        """Central difference quotients."""
        return np.asarray((self.plus - self.minus) / (self.above + self.below))

    @property
    def right(self) -> Array:
        """Forward difference quotients."""
        return (self.plus - self.centre) / self.above

    @property
    def left(self) -> Array:
        """Backward difference quotients."""
        return (self.centre - self.minus) / self.below

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        values = np.abs([self.plus, self.minus])
        return float(np.max(values, initial=abs(self.centre), where=np.isfinite(values)))

    @property
    def rise(self) -> Array:
        """The larger absolute change of the two sides from the value at the centre."""
        return np.asarray(
            np.fmax(np.abs(self.plus - self.centre), np.abs(self.minus - self.centre))
        )


@dataclass
class SampledLine:
    """A function along a line that caches its values."""

    line: Line
    known: dict[float, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the realised t, and the value there."""
        if t not in self.known:
            self.known[t] = self.line(t)
        return self.known[t]

    def rungs(self, steps: Sequence[float], bare: int = 2) -> Rungs:
        """Evaluate the function at ± each step, and at third points but for `bare` coarse rungs.

        The two coarsest rungs need no third point, since no coarser rungs predict it.
        """
        sides = [1 if number % 2 else -1 for number in range(len(steps))]
        places = [np.nan if k < bare else THIRD_POINT * sides[k] * h for k, h in enumerate(steps)]
        ups, downs, thirds = (
            np.array([(t, t) if t != t else self(t) for t in points], float).reshape(-1, 2).T
            for points in (steps, [-h for h in steps], places)
        )
        h = np.array(steps, float)
        return Rungs(self(0.0)[1], h, ups[0], ups[1], -downs[0], downs[1], thirds[0], thirds[1])


def unchanged(rungs: Rungs) -> Array:
    """Return a mask of the rungs whose values both equal the value at the centre."""
    return np.asarray((rungs.plus == rungs.centre) & (rungs.minus == rungs.centre))
