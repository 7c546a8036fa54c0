"""What is known of a slope: its value, its error bar, and what was seen at the point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

Kind: TypeAlias = Literal["smooth", "kink", "edge", "flat", "singular", "unresolved"]


class Bar(NamedTuple):
    """A number and the error bar around it."""

    value: float
    error: float


NOTHING = Bar(np.nan, np.inf)


@dataclass(frozen=True)
class Slope:
    """The slope of a function at a point.

    Attributes
    ----------
    value, error : float
        The slope lies within ``value ± error``. At a kink they reach from one side's slope to the
        other's; NaN and infinity where no slope could be read off.
    kind : {"smooth", "kink", "edge", "flat", "singular", "unresolved"}
        What was seen at the point: one slope; two of them; values on one side alone; the same
        value everywhere; a slope that grows without end; or nothing clear.
    left, right : Bar
        The slopes of both sides, where they were looked at apart.
    noise : float
        The error of one evaluation, as it was seen.
    curvature : float
        About the second derivative, in size.
    nearby : float
        How steep the function is on the way to the coarsest points, in size.
    rounding : float
        The noise of numbers that are rounded inside, or of a solver that takes another number of
        steps, where that was proven by a jump; else 0.
    piece : Bar
        The slope between the two jumps nearest to the point, where there are jumps.
    """

    value: float
    error: float
    kind: Kind
    left: Bar = NOTHING
    right: Bar = NOTHING
    noise: float = 0.0
    curvature: float = 0.0
    nearby: float = 0.0
    rounding: float = 0.0
    piece: Bar = NOTHING

    @property
    def doubt(self) -> float:
        """How far off the slope may be, or at a kink that of either side."""
        return max(self.left.error, self.right.error) if self.kind == "kink" else self.error

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest slope that the point allows."""
        bars = (self.left, self.right) if self.kind == "kink" else (Bar(self.value, self.error),)
        return min(b.value - b.error for b in bars), max(b.value + b.error for b in bars)
