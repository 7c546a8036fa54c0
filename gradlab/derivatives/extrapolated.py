"""Columns of the Jacobian by Richardson extrapolation: near round-off, about 20 evaluations each.

The steps and their extrapolation are those of `gradlab.gradients.differences.richardson`, for each
output; all outputs share the evaluations. Next to a bound, where the steps must be one-sided, the
formula of fourth order is used instead.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradlab.derivatives.differences import Differences
from gradlab.derivatives.lines import Line
from gradlab.gradients.differences.richardson import FIRST, extrapolate
from gradlab.params import Array


class Extrapolated(Differences):
    """The derivative of a function, column by column: `richardson`."""

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
        largest = 1.0 if sure else FIRST
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
