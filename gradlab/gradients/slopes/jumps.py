"""Jumps of the function between fine and coarse rungs, which count as noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.gradients.slopes.ladder import Line, Rungs, SampledLine, unchanged
from gradlab.params import Array

HALVINGS = 25
"""Number of halvings of the interval that contains a jump. They reduce the change of a continuous
function by a factor of about 2^25."""

NOISE_RATIO = 8.0
"""Ratio to the noise above which a difference of a few values is significant."""

JUMP_SEARCH_RATIO = 4.0
"""Ratio to the error expected of a smooth function above which the search for a jump starts."""

MAX_SEARCHES = 8
"""Largest number of intervals that are searched for a jump."""

MAX_RISE_OF_NOISE = 64
"""Largest ratio of a value's change to the rounding of the values that noise alone may explain."""


def stairs(rungs: Rungs, floor: float, probe: SampledLine) -> tuple[float, Array]:
    """Detect a staircase; return its noise, and a mask of the rungs on the tread around 0."""
    tread = np.logical_and.accumulate(unchanged(rungs)[::-1])[::-1]
    nothing = 0.0, np.zeros(len(tread), bool)
    edge = int(np.argmax(tread)) - 1  # the finest rung outside of the tread
    if not tread.any() or edge < 0 or not rungs.rise[edge] > MAX_RISE_OF_NOISE * floor:
        return nothing
    height = float(rungs.rise[edge])
    for value, sign in ((rungs.plus[edge], 1), (rungs.minus[edge], -1)):
        if np.isfinite(value) and value != rungs.centre:
            jump = _jump(probe, sign * rungs.h[edge + 1], sign * rungs.h[edge])
            if jump > height / 100:
                # Rounding to such stairs is off by at most height / 2: deviation height / √12.
                return 0.3 * height, tread
    return nothing


@dataclass(frozen=True)
class Model:
    """A cubic around 0 that approximates the function on fine rungs."""

    centre: float
    slope: float
    bend: float
    cubic: float

    @classmethod
    def of(cls, rungs: Rungs, k: int, slope: float, noise: float) -> Model:
        """Fit the terms in t² and t³ to rung `k`; terms that do not exceed the noise are 0."""
        h, even, odd = rungs.h[k], rungs.even[k], rungs.central[k] - slope
        bend = even / (2 * h**2) if abs(even) > NOISE_RATIO * noise else 0.0
        cubic = odd / h**2 if abs(odd) * h > NOISE_RATIO * noise else 0.0
        return cls(rungs.centre, slope, float(bend), float(cubic))

    def deviation(self, t: float, value: float) -> float:
        """Return the difference between a value at t and the model."""
        return value - (self.centre + t * (self.slope + t * (self.bend + t * self.cubic)))


@dataclass(frozen=True)
class Jump:
    """A jump of the function: the nearest known point beyond it, and its signed height."""

    place: float
    height: float

    def taken_out(self, rungs: Rungs) -> Rungs:
        """Return the rungs with the jump subtracted."""
        return replace(
            rungs,
            plus=rungs.plus - self.added(rungs.h),
            minus=rungs.minus - self.added(-rungs.h),
            third_value=rungs.third_value - self.added(rungs.third),
        )

    def taken_off(self, line: Line) -> Line:
        """Return the function with the jump subtracted."""

        def without(t: float) -> tuple[float, float]:
            moved, value = line(t)
            return moved, value - float(self.added(t))

        return without

    def added(self, t: Any) -> Array:
        """Return the contribution of the jump to the value at t."""
        beyond = t >= self.place if self.place > 0 else t <= self.place
        return np.where(beyond, self.height, 0.0)


def misses(rungs: Rungs, k: int, model: Model) -> dict[int, float]:
    """Return the error of a model at both values of a rung, by side (1 or -1)."""
    sides = ((1, rungs.above[k], rungs.plus[k]), (-1, -rungs.below[k], rungs.minus[k]))
    return {side: abs(model.deviation(float(t), float(value))) for side, t, value in sides}


def first_jump(
    rungs: Rungs, line: Line, slope: float, doubt: float, noise: float, known: bool = False
) -> Jump | None:
    """Return the jump nearest to 0 on the ladder, or None.

    From the finest rung outward, a cubic through the next finer rung predicts each rung. The error
    of the prediction grows as h⁴ where the function is smooth. Where it grows faster, bisection
    searches the interval between the two rungs for a jump. If there is none, the cubics are no
    longer reliable, and all intervals farther out on that side are searched. If `known`, the noise
    is that of lower jumps, and its contribution to the error does not grow with h.
    """
    before: dict[int, float] = {1: np.inf, -1: np.inf}
    looked_into, searches = {1: False, -1: False}, 0
    for k in reversed(range(len(rungs.h) - 1)):
        ratio = float(rungs.h[k] / rungs.h[k + 1])
        model = Model.of(rungs, k + 1, slope, noise)
        missed = misses(rungs, k, model)
        allowed = NOISE_RATIO * noise * ratio + 2 * doubt * rungs.h[k]
        for side, miss in missed.items():
            if not miss > allowed + JUMP_SEARCH_RATIO * ratio**4 * before[side]:
                continue
            searches += 1
            jump = _search(line, model, side * float(rungs.h[k + 1]), side * float(rungs.h[k]))
            if abs(jump.height) > max(miss / 16, NOISE_RATIO * noise):
                return jump
            looked_into[side] = True
        if searches >= MAX_SEARCHES:
            return None
        before = {
            side: 0.0 if looked_into[side] else max(miss - known * allowed, (1 - known) * noise)
            for side, miss in missed.items()
        }
    return None


def _search(line: Line, model: Model, near: float, far: float) -> Jump:
    """Bisect an interval; keep the half with the larger change, which shrinks if continuous."""
    at_near, at_far = (model.deviation(*line(t)) for t in (near, far))
    first = abs(at_far - at_near)
    for halving in range(HALVINGS):
        middle = (near + far) / 2
        at_middle = model.deviation(*line(middle))
        if abs(at_middle - at_near) <= abs(at_far - at_middle):
            near, at_near = middle, at_middle
        else:
            far, at_far = middle, at_middle
        if halving >= 8 and abs(at_far - at_near) <= first / 64:
            break
    return Jump(far, at_far - at_near)


def _jump(probe: SampledLine, near: float, far: float) -> float:
    """Return the height of the jump at the edge of a tread between `near` and `far`."""
    _, level = probe(0.0)
    _, beyond = probe(far)
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        _, value = probe(middle)
        if value == level:
            near = middle
        else:
            far, beyond = middle, value
    return abs(beyond - level)
