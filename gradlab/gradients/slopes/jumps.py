"""Jumps of the function between fine and coarse rungs, which count as noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.gradients.slopes.ladder import Line, Rungs, SampledLine, unchanged
from gradlab.params import Array

HALVINGS = 25
"""Number of halvings that confine a jump: what is continuous changes by 2^-25 of its change."""

CLEARLY = 8.0
"""Ratio to the noise above which a difference of a few values is no noise."""

SUDDEN = 4.0
"""Ratio to the growth of a smooth function's error above which a jump is looked for."""

SEARCHES = 8
"""Number of intervals in which a jump is looked for, at most."""

FLAT = 64
"""Largest ratio of a value's change to its least noise that may be noise alone."""


def stairs(rungs: Rungs, floor: float, probe: SampledLine) -> tuple[float, Array]:
    """Tell a staircase from flat ground: return its noise, and which rungs lie on one tread."""
    tread = np.logical_and.accumulate(unchanged(rungs)[::-1])[::-1]
    nothing = 0.0, np.zeros(len(tread), bool)
    edge = int(np.argmax(tread)) - 1  # the finest rung that is not on it
    if not tread.any() or edge < 0 or not rungs.rise[edge] > FLAT * floor:
        return nothing
    height = float(rungs.rise[edge])
    for value, sign in ((rungs.plus[edge], 1), (rungs.minus[edge], -1)):
        if np.isfinite(value) and value != rungs.centre:
            jump = _jump(probe, sign * rungs.h[edge + 1], sign * rungs.h[edge])
            if jump > height / 100:
                # Rounding to stairs of one height is off by up to half of it.
                return 0.3 * height, tread
    return nothing


@dataclass(frozen=True)
class Model:
    """The smooth function that fine rungs show: a cubic around 0."""

    centre: float
    slope: float
    bend: float
    cubic: float

    @classmethod
    def of(cls, rungs: Rungs, k: int, slope: float, noise: float) -> Model:
        """Take the higher terms from rung `k`, as far as they stand out from the noise."""
        h, even, odd = rungs.h[k], rungs.even[k], rungs.central[k] - slope
        bend = even / (2 * h**2) if abs(even) > CLEARLY * noise else 0.0
        cubic = odd / h**2 if abs(odd) * h > CLEARLY * noise else 0.0
        return cls(rungs.centre, slope, float(bend), float(cubic))

    def off(self, t: float, value: float) -> float:
        """Return by how much a value at t lies off the model."""
        return value - (self.centre + t * (self.slope + t * (self.bend + t * self.cubic)))


@dataclass(frozen=True)
class Jump:
    """A jump of the function: the point behind it, and by how much it rises there."""

    place: float
    height: float

    def taken_out(self, rungs: Rungs) -> Rungs:
        """Return the rungs as they would be without the jump."""
        return replace(
            rungs,
            plus=rungs.plus - self.added(rungs.h),
            minus=rungs.minus - self.added(-rungs.h),
            beside=rungs.beside - self.added(rungs.aside),
        )

    def taken_off(self, line: Line) -> Line:
        """Return the function as it would be without the jump."""

        def without(t: float) -> tuple[float, float]:
            moved, value = line(t)
            return moved, value - float(self.added(t))

        return without

    def added(self, t: Any) -> Array:
        """Return what the jump adds to a value at t."""
        beyond = t >= self.place if self.place > 0 else t <= self.place
        return np.where(beyond, self.height, 0.0)


def misses(rungs: Rungs, k: int, model: Model) -> dict[int, float]:
    """Return by how much a model misses the two values of a rung, for each side."""
    sides = ((1, rungs.above[k], rungs.plus[k]), (-1, -rungs.below[k], rungs.minus[k]))
    return {side: abs(model.off(float(t), float(value))) for side, t, value in sides}


def first_jump(
    rungs: Rungs, line: Line, slope: float, doubt: float, noise: float, known: bool = False
) -> Jump | None:
    """Return the jump nearest to 0, if there is one on the ladder.

    From the finest rung outward, each rung is predicted by a cubic through the next finer one. The
    error of that grows as h⁴ where the function is smooth; where it grows faster, the interval
    between the two rungs is halved towards its largest change. If it does not jump there, the
    cubics tell no more, and all intervals farther out are looked into. What lower jumps make of the
    error, whose noise is `known`, does not grow.
    """
    before: dict[int, float] = {1: np.inf, -1: np.inf}
    looked_into, searches = {1: False, -1: False}, 0
    for k in reversed(range(len(rungs.h) - 1)):
        ratio = float(rungs.h[k] / rungs.h[k + 1])
        model = Model.of(rungs, k + 1, slope, noise)
        missed = misses(rungs, k, model)
        allowed = CLEARLY * noise * ratio + 2 * doubt * rungs.h[k]
        for side, miss in missed.items():
            if not miss > allowed + SUDDEN * ratio**4 * before[side]:
                continue
            searches += 1
            jump = _search(line, model, side * float(rungs.h[k + 1]), side * float(rungs.h[k]))
            if abs(jump.height) > max(miss / 16, CLEARLY * noise):
                return jump
            looked_into[side] = True
        if searches >= SEARCHES:
            return None
        before = {
            side: 0.0 if looked_into[side] else max(miss - known * allowed, (1 - known) * noise)
            for side, miss in missed.items()
        }
    return None


def _search(line: Line, model: Model, near: float, far: float) -> Jump:
    """Halve an interval towards its largest change; a continuous function changes less and less."""
    at_near, at_far = (model.off(*line(t)) for t in (near, far))
    first = abs(at_far - at_near)
    for halving in range(HALVINGS):
        middle = (near + far) / 2
        at_middle = model.off(*line(middle))
        if abs(at_middle - at_near) <= abs(at_far - at_middle):
            near, at_near = middle, at_middle
        else:
            far, at_far = middle, at_middle
        if halving >= 8 and abs(at_far - at_near) <= first / 64:
            break
    return Jump(far, at_far - at_near)


def _jump(probe: SampledLine, near: float, far: float) -> float:
    """By how much the function rises where it leaves a tread between `near` and `far`."""
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
