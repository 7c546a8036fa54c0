"""The slope of a function that jumps: which jumps are noise, and which are part of the function.

A staircase of rounded numbers jumps, and so does a solver whose number of steps changes. The slope
between two such jumps is an artefact: the height of the jumps is noise, and the slope is that of
the coarser rungs. A few isolated, high jumps are part of the function, which has the slope between
them. `jumps` and `far` find the jumps; this file decides what they mean.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradlab.gradients.slopes.extrapolation import NOISE_BOUND
from gradlab.gradients.slopes.grids import steps_vary
from gradlab.gradients.slopes.jumps import Jump, first_jump
from gradlab.gradients.slopes.ladder import FLOAT64_BITS, Line, Rungs, SampledLine, unchanged
from gradlab.gradients.slopes.result import NO_BAR, Bar, Kind, Slope
from gradlab.gradients.slopes.verdict import of_all_rungs

MAX_ISOLATED_JUMPS = 3
"""Number of jumps that a function may have and still count as smooth apart from them."""

MAX_HEIGHT_SEARCHES = 2
"""Largest number of searches for jumps that are higher than the known ones."""

STEP_FUNCTION_RATIO = 2.0
"""Ratio of each of a few jumps to the function's change up to there, above which the jumps are part
of the function. A solver's jumps compensate for wrong slopes in between. Their ratio, beyond the
first jump, is therefore at most the relative error of these slopes."""

SINGLE_STEP_RATIO = 0.5
"""The ratio of `STEP_FUNCTION_RATIO` for a single jump on the ladder. A solver with a single jump
there would need slopes that are wrong by about 10 %."""

SINGLE_PRECISION = (2.0**-31, 2.0**-21)
"""Range of the ratio of the jumps' noise to the largest value, for numbers rounded to float32. The
ratio is 2^-26 to 2^-24; it is smaller if other terms are larger, and larger if terms cancel. The
slope between such jumps is an artefact of rounding."""

HALF_PRECISION = (2.0**-16, 2.0**-7)
"""Range of the widths of steps, relative to the scale, for numbers rounded to float16."""


def across_near_jumps(
    rungs: Rungs, found: Slope, floor: float, exact: float, probe: SampledLine
) -> Slope:
    """Search for jumps, whose height is noise unless there are only a few isolated ones.

    `found` is the slope that the rungs show if jumps are not considered, `floor` the known lower
    bound of the noise, `exact` the one from the values' precision alone.
    """
    if found.kind not in ("smooth", "flat", "edge", "unresolved") or len(rungs.h) < 3:
        return found
    piece = Bar(found.value, found.error)
    if unchanged(rungs)[-1]:
        piece = Bar(0.0, NOISE_BOUND * exact / float(rungs.h[0]))
        if not found.rounding and floor > exact and found.kind != "flat":
            return replace(found, piece=piece)  # the known noise explains the constant piece
    elif found.rounding:
        return found
    noise = floor if found.rounding else max(found.noise, floor)
    jump = first_jump(rungs, probe, piece.value, piece.error, noise)
    if jump is None:
        return found
    if _is_part_of_the_function(jump, rungs, probe, piece, noise):
        kind: Kind = "smooth" if piece.value else "flat"
        return replace(found, value=piece.value, error=piece.error, kind=kind, rounding=0.0)
    if found.rounding and _are_integers(rungs):
        return Slope(0.0, piece.error, "flat")
    if not found.rounding:
        found = _with_noise(max(floor, abs(jump.height) / 2), rungs, probe)
    return replace(_across_higher_jumps(rungs, found, probe), piece=piece)


def across_far_jump(jump: Jump, rungs: Rungs, found: Slope, probe: SampledLine) -> Slope:
    """Return the slope of all rungs, with the height of a solver's far jump as noise.

    `found` is the slope near the point. It becomes that of the piece between jumps.
    """
    across = _with_noise(abs(jump.height) / 2, rungs, probe)
    if across.kind != "smooth":
        return found
    across = _across_higher_jumps(rungs, across, probe)
    return replace(across, piece=Bar(found.value, found.error))


def is_too_high_for_a_solver(jump: Jump, slope: float, least: float = SINGLE_STEP_RATIO) -> bool:
    """Tell whether a jump is at least so high, in units of the change that the slope explains."""
    return abs(jump.height) >= least * abs(slope * jump.place)


def without_artefact(
    found: Slope, rungs: Rungs, floor: float, scale: float, claimed: float | None, line: Line
) -> Slope:
    """Drop the slope between jumps if these come from rounding to float32 or float16.

    Rounding to float16 matters only to a claim that is near the slope between steps.
    """
    low, high = (share * rungs.largest for share in SINGLE_PRECISION)
    if low <= max(found.rounding, floor) <= high:
        return replace(found, piece=NO_BAR)
    is_near = claimed is not None and not 2 * abs(claimed) > abs(found.value)
    if is_near and _is_half_precision(found, rungs, scale, line):
        return replace(found, piece=NO_BAR)
    return found


def _is_half_precision(found: Slope, rungs: Rungs, scale: float, line: Line) -> bool:
    """Tell whether the function is constant around the point because of rounding to float16."""
    if not (np.isfinite(found.piece.error) and found.value and unchanged(rungs)[-1]):
        return False
    height = float(np.min(rungs.rise, initial=np.inf, where=rungs.rise > 0))
    width = height / abs(found.value)
    low, high = HALF_PRECISION
    return low <= width / scale <= high and steps_vary(line, height, width, scale)


def _with_noise(level: float, rungs: Rungs, probe: SampledLine) -> Slope:
    """Return the slope that all rungs show if jumps are noise of this level."""
    return replace(of_all_rungs(rungs, level, probe), rounding=level)


def _across_higher_jumps(rungs: Rungs, found: Slope, probe: SampledLine) -> Slope:
    """Search for jumps higher than the known ones, since the treads of stairs may be stairs."""
    for _ in range(MAX_HEIGHT_SEARCHES):
        noise = max(found.noise, found.rounding)
        jump = first_jump(rungs, probe, found.value, found.error, noise, known=True)
        if jump is None:
            break
        found = _with_noise(abs(jump.height) / 2, rungs, probe)
    return found


def _are_integers(rungs: Rungs) -> bool:
    """Tell whether all values are integers; a function that counts is constant between jumps."""
    values = np.array([rungs.centre, *rungs.plus, *rungs.minus])
    values = values[np.isfinite(values)]
    return bool(np.all(values == np.round(values)) and np.abs(values).max() < 2.0**FLOAT64_BITS)


def _is_part_of_the_function(
    jump: Jump, rungs: Rungs, line: Line, piece: Bar, noise: float
) -> bool:
    """Tell whether the function is smooth apart from a few jumps that are too high for a solver."""
    jumps = [jump]
    while len(jumps) <= MAX_ISOLATED_JUMPS:
        rungs, line = jump.taken_out(rungs), jump.taken_off(line)
        following = first_jump(rungs, line, *piece, noise)
        if following is None:
            least = SINGLE_STEP_RATIO if len(jumps) == 1 else STEP_FUNCTION_RATIO
            return all(is_too_high_for_a_solver(j, piece.value, least) for j in jumps)
        jump = following
        jumps.append(jump)
    return False
