"""Jumps of the function between fine and coarse rungs, which count as noise."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.ladder import Probe, Rungs, unchanged
from gradlab.gradients.slopes.roughness import noise_of
from gradlab.params import Array

LEVEL = 64.0
"""Ratio of steps over which noise must stay the same to be that of rounded numbers."""

EVEN = 16.0
"""Largest ratio of noise that counts as the same: at a kink, noise falls in proportion to h."""

FLAT = 64
"""Largest ratio of a value's change to its least noise that may be noise alone."""


def stairs(rungs: Rungs, floor: float, probe: Probe) -> tuple[float, Array]:
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


def partial_stairs(rungs: Rungs, floor: float, probe: Probe) -> float:
    """Return the noise of a function of which a part is a staircase, 0 if it is none.

    It is smooth close by, and has noise that does not change over the coarser rungs. So have
    ripples; but between the last noisy rung and the smooth ones, a staircase jumps.
    """
    noise = noise_of(rungs)
    for start in range(2, len(noise)):
        window = noise[start:][rungs.h[start:] * LEVEL >= rungs.h[start]]
        if start + len(window) >= len(noise):
            return 0.0
        if np.inf > EVEN * window.min() >= window.max() and window.min() > FLAT * floor:
            break
    else:
        return 0.0
    level = float(np.median(window))
    noisy = np.flatnonzero(noise[start:] > level / EVEN)
    edge = start + int(noisy[-1])
    if edge + 1 >= len(noise):
        return 0.0  # the finest rungs show it, too
    slope = float(rungs.central[edge + 1])
    near, far = float(rungs.h[edge + 1]), float(rungs.h[edge])
    jumps = (_jump_off_line(probe, slope, sign * near, sign * far) for sign in (1, -1))
    return 2 * level if any(jump > level / 4 for jump in jumps) else 0.0


def _jump_off_line(probe: Probe, slope: float, near: float, far: float) -> float:
    """By how much the function jumps where it leaves a line between `near` and `far`."""
    _, centre = probe(0.0)

    def off(t: float) -> float:
        moved, value = probe(t)
        return value - centre - slope * moved

    at_near, at_far = off(near), off(far)
    for _ in range(25):
        middle = (near + far) / 2
        at_middle = off(middle)
        if abs(at_middle - at_near) <= abs(at_far - at_middle):
            near, at_near = middle, at_middle
        else:
            far, at_far = middle, at_middle
    return abs(at_far - at_near)


def _jump(probe: Probe, near: float, far: float) -> float:
    """By how much the function rises where it leaves a tread between `near` and `far`."""
    _, level = probe(0.0)
    _, beyond = probe(far)
    for _ in range(25):
        middle = (near + far) / 2
        _, value = probe(middle)
        if value == level:
            near = middle
        else:
            far, beyond = middle, value
    return abs(beyond - level)
