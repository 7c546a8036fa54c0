"""The slope that the values on some rungs show, and what kind of point it is.

Three questions about the same values, none of which evaluates the function on another rung:

- `of_few_rungs`: do these few rungs show the slope beyond doubt? Most functions end here.
- `of_all_rungs`: what do all rungs show together? Both sides, noise, and the treads of stairs.
- `predicts_far_rungs`: does the function continue farther out as the slope near 0 says?
"""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.extrapolation import NOISE_BOUND, extrapolate, extrapolate_widening
from gradlab.gradients.slopes.jumps import MAX_RISE_OF_NOISE, NOISE_RATIO, Model, misses, stairs
from gradlab.gradients.slopes.ladder import QUICK_RUNGS, Rungs, SampledLine, unchanged
from gradlab.gradients.slopes.result import NO_BAR, Bar, Kind, Slope
from gradlab.gradients.slopes.roughness import assumed_noise, noise_of, side_noise
from gradlab.params import Array

GOOD_ERROR = 1e-6
"""Relative error below which a slope is accepted without climbing the full ladder. It is relative
to the slope, or to the slopes nearby where those are larger."""

MAX_NOISE_ERROR = 256.0
"""Largest error of a slope that noise explains, in units of noise / scale. Steps of a quarter of
the scale, the largest that are taken, leave errors of 24 to 200 units, depending on the draw of the
noise. The full ladder reduces them little."""

POOR_ERROR = 1e-3
"""Relative error of a slope above which the ladder gets twice as many rungs."""


def is_doubtful(found: Slope) -> bool:
    """Tell whether more rungs may show the slope more exactly."""
    return not found.doubt <= GOOD_ERROR * max(abs(found.value), found.nearby)


def of_few_rungs(rungs: Rungs, floor: float, scale: float = np.inf) -> Slope | None:
    """Extrapolate coarse rungs; return None unless accurate and confirmed by all finer rungs.

    The relative error must be below `GOOD_ERROR`, or below that of noise with steps of about
    `scale`. `floor` is the smallest possible noise.
    """
    if len(rungs.h) < len(QUICK_RUNGS) - 1 or not np.isfinite([rungs.plus, rungs.minus]).all():
        return None
    # Finer values equal the one at 0, although coarser ones differ by more than rounding.
    swallowed = unchanged(rungs)[1:] & (rungs.rise[:-1] > MAX_RISE_OF_NOISE * floor)
    if rungs.rise[0] == 0 or swallowed.any():
        return None
    noise = np.fmax(noise_of(rungs), floor)
    noise = np.maximum.accumulate(noise[::-1])[::-1]  # the largest of a rung and all finer ones
    bar = extrapolate(rungs.h, rungs.central, 2, noise, most=2, dissent=0)
    if bar is None:
        return None
    nearby = float(rungs.rise[0] / rungs.h[0]) or np.inf
    good = max(GOOD_ERROR, MAX_NOISE_ERROR * float(noise[-3]) / (scale * nearby))
    if not bar.error <= max(
        min(good, POOR_ERROR) * nearby, min(good, 10 * POOR_ERROR) * abs(bar.value)
    ):
        return None
    curvature = abs(float(rungs.even[2] / rungs.h[2] ** 2))
    return Slope(*bar, "smooth", noise=float(noise[-1]), curvature=curvature, nearby=nearby)


def of_all_rungs(rungs: Rungs, floor: float, probe: SampledLine) -> Slope:
    """Judge all rungs: staircase, noise, the central and both one-sided slopes.

    `probe` is evaluated only to find the edge of a tread.
    """
    if not len(rungs.h):
        return Slope(*NO_BAR, "unresolved", noise=floor)
    if unchanged(rungs).all():
        return Slope(0.0, NOISE_BOUND * floor / rungs.h[0], "flat", noise=floor)
    stair, tread = stairs(rungs, floor, probe)
    floor = max(floor, stair)
    width = float(rungs.h[~tread][-1]) if stair else 0.0
    rungs = rungs[~tread]
    has_plus, has_minus = np.isfinite(rungs.plus), np.isfinite(rungs.minus)
    pairs, up, down = rungs[has_plus & has_minus], rungs[has_plus], rungs[has_minus]
    noise = assumed_noise(noise_of(pairs), floor)
    central = extrapolate_widening(pairs.h, pairs.central, 2, noise)
    right, left = _one_sided(up.h, up.right, floor), _one_sided(down.h, down.left, floor)
    curvature = float(np.median(np.abs(pairs.even / pairs.h**2)[:3])) if len(pairs.h) else 0.0
    if central and width:
        # The rounding may shift other numbers as well, by up to a step. The slope is then that of
        # a point within `width`.
        central = Bar(central.value, central.error + width * curvature)
    kind, bar = _combined(central, left, right)
    if kind in ("smooth", "edge") and (
        _diverges(up.h, up.right, floor) or _diverges(down.h, down.left, floor)
    ):
        kind, bar = "singular", NO_BAR
    return Slope(
        *bar,
        kind,
        left or NO_BAR,
        right or NO_BAR,
        noise=float(noise[-1]) if len(noise) else floor,
        curvature=curvature,
        nearby=float(np.max((rungs.rise / rungs.h)[:3], initial=0.0, where=rungs.rise[:3] >= 0)),
        rounding=stair,
    )


def predicts_far_rungs(rungs: Rungs, found: Slope, claimed: float | None) -> bool:
    """Tell whether the finer rungs predict the two coarsest ones, as for a smooth function.

    Also return True if the two coarsest rungs are too close to the prediction to support the
    claimed slope.
    """
    model = Model.of(rungs, 2, found.value, found.noise)
    far, nearer = (misses(rungs, k, model) for k in (0, 1))
    if claimed is not None:
        gap = abs(claimed - found.value) / 4
        if all(
            max(miss.values()) < gap * h for miss, h in zip((far, nearer), rungs.h, strict=False)
        ):
            return True
    noise = NOISE_RATIO * found.noise * float(rungs.h[1] / rungs.h[2]) ** 3
    noise += 2 * found.error * float(rungs.h[1])
    # The far rung has 4 times the step of the nearer one. The error of a cubic grows as h⁴ or h⁵,
    # by 4⁴ = 256 or 4⁵ = 1024; the bounds 4³ and 1100 leave room for the next terms.
    return all(
        far[side] / 1100 - noise <= nearer[side] <= far[side] / 64 + noise for side in (1, -1)
    )


def _one_sided(h: Array, q: Array, floor: float) -> Bar | None:
    """Extrapolate the quotients of one side."""
    return extrapolate_widening(h, q, 1, assumed_noise(side_noise(h, q), floor))


def _combined(central: Bar | None, left: Bar | None, right: Bar | None) -> tuple[Kind, Bar]:
    """Combine the slopes of both sides: one slope, a kink, an edge, or none."""
    if left and right and abs(left.value - right.value) > 2 * (left.error + right.error):
        half = abs(left.value - right.value) / 2
        middle = (left.value + right.value) / 2
        return "kink", Bar(middle, half + max(left.error, right.error))
    if central:
        return "smooth", central
    sides = [bar for bar in (left, right) if bar]
    return ("edge", min(sides, key=lambda bar: bar.error)) if sides else ("unresolved", NO_BAR)


def _diverges(h: Array, q: Array, floor: float) -> bool:
    """Tell whether a one-sided quotient diverges as h → 0, as a power or the logarithm of h."""
    change, limit = np.diff(q), 100 * floor / h[1:]
    seen = np.flatnonzero(limit < np.abs(change).max(initial=0.0))[-6:]
    if len(seen) < 6 or not change[seen].all():
        return False
    growth = change[seen][1:] / change[seen][:-1]
    if growth.min() <= 0:
        return False
    power = np.log(growth) / np.log(h[seen][:-1] / h[seen][1:])
    # The power must be constant, and not -1, which is that of a single jump.
    return bool(power.min() > -0.01 and power.max() < 0.8 and np.ptp(power) < 0.1)
