"""A measured slope: its value, its error bar, and how the function behaves at the point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

Kind: TypeAlias = Literal["smooth", "kink", "edge", "flat", "singular", "unresolved"]


class Bar(NamedTuple):
    """A number and the error bar around it."""

    value: float
    error: float


NO_BAR = Bar(np.nan, np.inf)


@dataclass(frozen=True)
class Slope:
    """The slope of a function at a point: within ``value ± error``.

    At a kink the interval contains the slopes of both sides. It is NaN and infinity if the slope
    could not be measured.
    """

    value: float
    error: float
    # One slope; two different one-sided slopes; values on one side only; the same value everywhere;
    # a slope that diverges; or none that could be determined.
    kind: Kind
    left: Bar = NO_BAR  # the one-sided slopes, if they were measured
    right: Bar = NO_BAR
    noise: float = 0.0  # the observed error of one evaluation
    curvature: float = 0.0  # an estimate of the absolute second derivative
    nearby: float = 0.0  # the absolute mean slope of the function up to the coarsest points
    # The noise of numbers that are rounded inside, or of a solver whose number of steps changes, if
    # a jump proves it.
    rounding: float = 0.0
    piece: Bar = NO_BAR  # the slope between the two jumps nearest to the point

    @property
    def doubt(self) -> float:
        """The error bar of the slope; at a kink the larger one of the two sides."""
        return max(self.left.error, self.right.error) if self.kind == "kink" else self.error

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest slope within the error bars, of both sides at a kink."""
        bars = (self.left, self.right) if self.kind == "kink" else (Bar(self.value, self.error),)
        return min(b.value - b.error for b in bars), max(b.value + b.error for b in bars)
