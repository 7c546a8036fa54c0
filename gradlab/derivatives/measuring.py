"""Detect outputs that a difference formula does not suit, and measure them with error bars.

A slope is *doubtful* if the formula with one point less differs from it by more than round-off and
a small fraction of the slope. It is then measured on a ladder of steps with error bars
(`gradlab.gradients.slopes`). The ladder also measures the noise of the function. If the noise is
far above the round-off of the returned dtype, for example because the function computes in float32
inside, it is stored in `Field.epsilon`, and all columns are computed again with larger steps
(`Coarse`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from gradlab.derivatives.lines import Field, Line
from gradlab.errors import GradlabError, LossError
from gradlab.gradients.slopes import Slope, slope
from gradlab.params import Array

T = TypeVar("T")

EVALUATION_ROUNDINGS = 8.0
"""Assumed error of a difference of two evaluations, in units of the precision of one."""

DOUBTFUL_BEND: dict[int, float] = {1: 2.0**-9, 2: 2.0**-9, 4: 2.0**-15}
"""Difference between a formula and that with one point less, relative to the slope, above which a
slope is doubtful; for each order of the formula's error."""

COARSE_NOISE_RATIO = 64.0
"""Noise, in round-offs of the returned dtype, above which the function computes in a narrower
dtype."""

ROUGH_RELATIVE_NOISE = 2.0**-7
"""Relative noise above which a function counts as rough, and not as rounded."""

COMPARISON_DISTANCE = 2.0**-12
"""Distance, relative to the parameters' size, over which a Jacobian is compared with the
function."""

MAX_PREDICTION_ERROR = 2.0**-6
"""Relative error of the predicted change above which an output's slopes are doubtful."""


MAX_FLAT_ERROR = 2.0**12
"""Error of a slope, in round-offs of the output, below which the error may exceed the slope."""


ZERO_OUTPUT_SIZE = 2.0**-960
"""Assumed size of an output that is 0 everywhere, for relative errors: far above the smallest
floats."""


class Coarse(Exception):  # noqa: N818 - no error: the differences are taken again
    """The function is less exact than assumed: output k shows the relative error `epsilon`."""

    def __init__(self, k: int, epsilon: float) -> None:
        super().__init__(k, epsilon)
        self.k, self.epsilon = k, epsilon


def again_if_coarse(where: Field, compute: Callable[[], T]) -> T:
    """Return a result; compute it again whenever the function turns out to be less exact."""
    while True:
        try:
            return compute()
        except Coarse as found:
            where.raise_epsilon(found.k, found.epsilon)


def roundoff(where: Field, rows: Array, h: float) -> Array:
    """Bound the round-off of a difference quotient of some outputs over the step h."""
    found: Array = EVALUATION_ROUNDINGS * where.epsilon[rows] * np.abs(where.centre[rows]) / h
    return found


def doubtful(where: Field, rows: Array, slopes: Array, bends: Array, h: float, order: int) -> Array:
    """Tell which slopes of a formula of this order are doubtful."""
    epsilon = where.epsilon[rows]
    own = (8 * epsilon ** (1 / 5)) ** 3 if order == 4 else 64 * epsilon ** (1 / 3)
    limit = np.maximum(DOUBTFUL_BEND[order], np.minimum(own, 0.25))
    size = np.abs(slopes)
    allowed = roundoff(where, rows, h) + EVALUATION_ROUNDINGS * epsilon * size / h
    fine: Array = bends <= np.maximum(limit * size, allowed)  # not so where one is NaN
    return ~(fine & np.isfinite(slopes))


def ladder(line: Line, k: int, i: int = 0, noise: float = 0.0) -> Slope:
    """Return the slope of output k along a line, with its error bar, with respect to t.

    The output depends only on the i-th perturbed entry, unless the line is a direction.
    """
    where = line.where
    bits = min(round(-np.log2(where.epsilon[k])), 52)
    scale = reach = 1.0
    if not line.is_direction:
        scale = float(where.sizes[line.entries[i]] / line.step[i])
        reach = max(scale, 1.0)
    return slope(
        line.output(k, i), scale=scale, reach=reach, finest=line.finest, bits=bits, noise=noise
    )


def measured(line: Line, k: int, i: int = 0, *, formula: float = np.nan) -> float:
    """Return the slope of output k along a line, from a ladder of steps.

    The slope of a formula is kept if the ladder does not contradict it.

    Raise a LossError if the slope cannot be resolved, or the function is not deterministic. Raise
    `Coarse` if the ladder shows more noise than assumed so far.
    """
    where = line.where
    where.require_steady()
    found = ladder(line, k, i)
    size = max(abs(float(where.centre[k])), abs(found.value), ZERO_OUTPUT_SIZE)
    noise = 2 * found.noise / size
    if COARSE_NOISE_RATIO * where.epsilon[k] < noise <= ROUGH_RELATIVE_NOISE:
        raise Coarse(k, float(np.exp2(np.ceil(np.log2(noise)))))
    if abs(found.value - formula) <= found.error:
        return formula
    # Across a jump, small steps have slopes of any size, with equally large error bars.
    least = max(abs(found.value), found.nearby / 4, MAX_FLAT_ERROR * where.epsilon[k] * size)
    is_lost = found.kind not in ("kink", "flat") and not found.error <= least
    if is_lost or not np.isfinite(found.value):
        raise LossError(
            f"the slope of {where.outputs.name(k)} along {line.name} cannot be resolved: "
            "the output jumps there, or is too noisy or too steep: give step=, or see "
            "gradlab.derivative_with_error"
        )
    return found.value


def mispredicted(where: Field, found: Array) -> Array:
    """Return the outputs whose change along a random direction differs from the predicted one.

    This detects slopes lost in rounding, and one-sided differences that are too coarse. `found` is
    the Jacobian times the scales, of shape (m, p).
    """
    every = np.arange(len(where.centre))
    if not where.x.size or not len(every):
        return every[:0]
    rng = np.random.default_rng(0)
    direction = rng.uniform(0.5, 1.0, where.x.size) * rng.choice([-1.0, 1.0], where.x.size)
    # Near a bound, the direction points away from it.
    direction = np.where(where.high < -where.low, -np.abs(direction), direction)
    direction = np.where(where.high > -where.low, np.abs(direction), direction)
    line, unit = where.along(direction * where.scales)
    predicted = (found @ direction) * unit
    size = np.sqrt(np.square(found) @ np.square(direction)) * unit
    allowed = MAX_PREDICTION_ERROR * size + roundoff(where, every, COMPARISON_DISTANCE)
    ahead = _change(line, COMPARISON_DISTANCE)
    if ahead is None:
        return every[:0]
    wrong: Array = every[np.abs(ahead - predicted) > allowed]
    back = _change(line, -COMPARISON_DISTANCE) if len(wrong) else None
    if back is None:
        return wrong
    # The mean of both sides has no curvature.
    curved: Array = np.abs((ahead + back) / 2 - predicted) > allowed
    return every[curved]


def _change(line: Line, t: float) -> Array | None:
    """Return the slopes over a step, or None if the function has no value there."""
    if not line.low <= t <= line.high:
        return None
    try:
        return (line(t)[1] - line.where.centre) / t
    except GradlabError:
        return None
