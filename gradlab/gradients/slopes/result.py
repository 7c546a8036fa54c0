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


NOTHING = Bar(np.nan, np.inf)


@dataclass(frozen=True)
class Slope:
    """The slope of a function at a point.

    Attributes
    ----------
    value, error : float
        The slope lies within ``value ± error``. At a kink the interval contains the slopes of both
        sides. NaN and infinity if the slope could not be measured.
    kind : {"smooth", "kink", "edge", "flat", "singular", "unresolved"}
        The behaviour at the point: one slope; two different one-sided slopes; values on one side
        only; the same value everywhere; a slope that diverges; or none that could be determined.
    left, right : Bar
        The one-sided slopes, if they were measured.
    noise : float
        The observed error of one evaluation.
    curvature : float
        Estimate of the absolute second derivative.
    nearby : float
        Absolute mean slope of the function up to the coarsest points.
    rounding : float
        The noise of numbers that are rounded inside, or of a solver whose number of steps changes,
        if a jump proves it; else 0.
    piece : Bar
        The slope between the two jumps nearest to the point, if there are jumps.
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
        """The error bar of the slope; at a kink the larger one of the two sides."""
        return max(self.left.error, self.right.error) if self.kind == "kink" else self.error

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest slope within the error bars, of both sides at a kink."""
        bars = (self.left, self.right) if self.kind == "kink" else (Bar(self.value, self.error),)
        return min(b.value - b.error for b in bars), max(b.value + b.error for b in bars)
