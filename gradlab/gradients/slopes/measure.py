"""The slope of a function of one number: a few rungs first, the ladder if they do not suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from gradlab.gradients.slopes.extrapolation import TRUST, extrapolate, widening
from gradlab.gradients.slopes.far import far_jump
from gradlab.gradients.slopes.grids import grows
from gradlab.gradients.slopes.jumps import CLEARLY, FLAT, Jump, Model, first_jump, misses, stairs
from gradlab.gradients.slopes.ladder import (
    BITS,
    COARSE,
    FAR,
    FINE_LADDER,
    HORIZON,
    INNER,
    LADDER,
    OUTWARD,
    QUICK,
    Line,
    Rungs,
    SampledLine,
    steps_of,
    unchanged,
)
from gradlab.gradients.slopes.result import NOTHING, Bar, Kind, Slope
from gradlab.gradients.slopes.roughness import credit, floor_of, noise_of, side_noise
from gradlab.params import Array

Effort: TypeAlias = Literal["usual", "wide", "thorough", "brief"]

GOOD = 1e-6
"""Relative error below which a slope is accepted without climbing the full ladder. It is relative
to the slope, or to the slopes nearby where those are larger."""

NOISY = 256.0
"""Largest error of a slope that noise explains, in units of noise / scale. Steps of a quarter of
the scale, the largest that are taken, leave errors of 24 to 200 units, depending on the draw of the
noise. The full ladder reduces them little."""

NARROW = 40
"""Bits of the values below which a glance uses the exponents `COARSE`."""

TINY = 8
"""Exponent log₂(reach / scale) above which an entry counts as tiny. Its ladder then has larger
steps as well, if the values do not resolve steps of the entry's own size."""

ALONE = 3
"""Number of jumps that a function may have and still count as smooth apart from them."""

LEVELS = 2
"""Largest number of searches for jumps that are higher than the known ones."""

STEP = 2.0
"""Ratio of each of a few jumps to the function's change up to there, above which the jumps are part
of the function. A solver's jumps compensate for wrong slopes in between. Their ratio, beyond the
first jump, is therefore at most the relative error of these slopes."""

SINGLE_PRECISION = (2.0**-31, 2.0**-21)
"""Range of the ratio of the jumps' noise to the largest value, for numbers rounded to float32. The
ratio is 2^-26 to 2^-24; it is smaller if other terms are larger, and larger if terms cancel. The
slope between such jumps is an artefact of rounding."""

HALF_PRECISION = (2.0**-16, 2.0**-7)
"""Range of the widths of steps, relative to the scale, for numbers rounded to float16."""

SINGLE = 0.5
"""The ratio of `STEP` for a single jump on the ladder. A solver with a single jump there would need
slopes that are wrong by about 10 %."""

BIASED = 0.1
"""Largest relative error of the slope between the far jumps of a solver."""

POOR = 1e-3
"""Relative error of a slope above which the ladder gets twice as many rungs."""


def slope(
    line: Line,
    *,
    scale: float = 1.0,
    reach: float = 0.0,
    finest: float = 0.0,
    bits: int = BITS,
    noise: float = 0.0,
    rounding: float = 0.0,
    effort: Effort = "usual",
    claimed: float | None = None,
) -> Slope:
    """Return the slope at 0 of a function of one number.

    Parameters
    ----------
    line : callable
        ``line(t) -> (moved, value)``: the realised t, and the value there, NaN if there is none.
    scale : float
        Typical size of t; steps are fractions of it. A power of two keeps steps exact.
    reach : float
        Limit of larger steps, which are taken if those below `scale` do not resolve the slope.
    finest : float
        Smallest step that the rounding of t allows.
    bits : int
        The precision of the values: 52 for float64, 23 for float32.
    noise : float
        Known lower bound of the noise.
    rounding : float
        Noise that another line of the same loss showed, and that this line may have.
    effort : {"usual", "wide", "thorough", "brief"}
        "usual" evaluates a few rungs, and more if they do not suffice. "wide" also evaluates more
        if far points deviate from the prediction of these rungs. "thorough" skips the first few
        rungs. "brief" evaluates at most the ladder, once.
    claimed : float, optional
        The claimed slope. With effort "wide", far points only need to refute it.

    Examples
    --------
    >>> import math
    >>> found = slope(lambda t: (t, math.exp(t)))
    >>> abs(found.value - 1) <= found.error < 1e-10, found.kind
    (True, 'smooth')
    >>> found = slope(lambda t: (t, max(t, 0.0)))
    >>> found.kind, found.left.value, found.right.value
    ('kink', 0.0, 1.0)
    """
    look = _Look(SampledLine(line), scale, reach, finest, bits, noise, max(noise, rounding))
    with np.errstate(all="ignore"):  # values outside of the domain are NaN
        if effort == "brief":
            return look.glance(wide=False, claimed=None) or look.climb(LADDER)[1]
        if rounding > noise and not look.shows_rounding():
            look = replace(look, rounding=noise)
        if effort != "thorough":
            found = look.glance(wide=effort == "wide", claimed=claimed)
            if found is None and (effort == "usual" or claimed is None):
                found = look.coarse_glance()
            if found is not None:
                return look.among_far_jumps(found, claimed) if effort == "wide" else found
        found = look.study(LADDER, claimed) if effort == "wide" else look.study(INNER)
        return look.among_far_jumps(found, claimed) if effort == "wide" else found


@dataclass(frozen=True)
class _Look:
    """A function, and what is known of it; see `slope`."""

    probe: SampledLine
    scale: float
    reach: float
    finest: float
    bits: int
    noise: float
    rounding: float

    def rungs(self, exponents: Sequence[int], bare: int = 2) -> Rungs:
        return self.probe.rungs(steps_of(exponents, self.scale, self.finest, self.bits), bare)

    def floor(self, rungs: Rungs) -> float:
        return floor_of(rungs, self.bits, self.rounding)

    def glance(self, wide: bool, claimed: float | None) -> Slope | None:
        """Measure on few rungs, which suffice for most functions; return None if they do not."""
        if self.bits < NARROW or self.rounding > self.noise:
            return None
        rungs = self.rungs(QUICK)
        found = _glance(rungs, floor_of(rungs, self.bits, self.noise))
        if found is None or not wide:
            return found
        far = self.rungs((*FAR, *QUICK), bare=len(FAR) + 2)
        return found if _continues(far, found, claimed) else None

    def shows_rounding(self) -> bool:
        """Tell whether this line has the noise that another line of the same loss showed."""
        exponents = (*FAR, *QUICK) if self.bits >= NARROW else COARSE
        noise = noise_of(self.rungs(exponents))
        return not np.nan_to_num(noise, posinf=np.inf).max() < self.rounding / CLEARLY

    def coarse_glance(self) -> Slope | None:
        """Measure on few coarse rungs, if the values are known to be rounded to few digits."""
        if self.bits >= NARROW and not self.rounding > self.noise:
            return None
        rungs = self.rungs([round(e * BITS / self.bits) for e in COARSE])
        return _glance(rungs, self.floor(rungs), self.scale)

    def climb(self, exponents: Sequence[int]) -> tuple[Rungs, Slope]:
        rungs = self.rungs(exponents)
        return rungs, _study(rungs, self.floor(rungs), self.probe)

    def study(self, start: Sequence[int], claimed: float | None = None) -> Slope:
        """Evaluate the ladder; add larger and more steps if it does not resolve the slope."""
        rungs, found = self.climb(start)
        if _doubtful(found):
            rungs, found = self.climb(LADDER)
        top = int(np.log2(max(self.reach / self.scale, 1.0))) - 2
        if found.kind == "flat" or (top > TINY and _doubtful(found)):
            rungs, found = self.climb((*range(top, 2, -4), *OUTWARD, *LADDER))
        if found.kind != "flat" and not found.doubt <= POOR * abs(found.value):
            rungs, found = self.climb((*range(top, 0, -2), *FINE_LADDER))
        exact = floor_of(rungs, self.bits, 0.0)
        found = _across_jumps(rungs, found, self.floor(rungs), exact, self.probe)
        low, high = (share * rungs.largest for share in SINGLE_PRECISION)
        is_single = low <= max(found.rounding, self.floor(rungs)) <= high
        # Rounding to float16 matters only to a claim that is near the slope between steps.
        if not is_single and (claimed is None or 2 * abs(claimed) > abs(found.value)):
            return found
        return replace(found, piece=NOTHING) if is_single or self.is_half(rungs, found) else found

    def is_half(self, rungs: Rungs, found: Slope) -> bool:
        """Tell whether the function is constant around the point because of rounding to float16."""
        if not (np.isfinite(found.piece.error) and found.value and unchanged(rungs)[-1]):
            return False
        height = float(np.min(rungs.rise, initial=np.inf, where=rungs.rise > 0))
        width = height / abs(found.value)
        low, high = HALF_PRECISION
        is_narrow = low <= width / self.scale <= high
        return is_narrow and grows(self.probe, height, width, self.scale)

    def among_far_jumps(self, found: Slope, claimed: float | None) -> Slope:
        """Search for far jumps of a solver; if there is one, its height is noise.

        The slope `found` is then that of the piece between jumps. The height of such a jump does
        not explain a claim whose relative error exceeds `BIASED`, so that there is no search.
        """
        if found.kind != "smooth" or found.rounding or self.bits < NARROW:
            return found
        size = max(abs(found.value), found.nearby)
        if claimed is not None and abs(claimed - found.value) > BIASED * size:
            return found
        exponents = (*HORIZON, *QUICK[:3])
        rungs = self.rungs(exponents, bare=len(exponents))
        noise = max(found.noise, floor_of(rungs, self.bits, self.noise))
        jump = far_jump(rungs, self.probe, noise, len(HORIZON))
        if jump is None or abs(jump.height) >= SINGLE * abs(found.value * jump.place):
            return found
        rungs = self.rungs((*HORIZON, *INNER))
        level = abs(jump.height) / 2
        across = replace(_study(rungs, level, self.probe), rounding=level)
        if across.kind != "smooth":
            return found
        return replace(_above(rungs, across, self.probe), piece=Bar(found.value, found.error))


def _doubtful(found: Slope) -> bool:
    return not found.doubt <= GOOD * max(abs(found.value), found.nearby)


def _steepness(rungs: Rungs) -> float:
    """Return the mean steepness of the function up to the coarsest rung."""
    return float(rungs.rise[0] / rungs.h[0]) or np.inf


def _continues(rungs: Rungs, found: Slope, claimed: float | None) -> bool:
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
    noise = CLEARLY * found.noise * float(rungs.h[1] / rungs.h[2]) ** 3
    noise += 2 * found.error * float(rungs.h[1])
    return all(
        far[side] / 1100 - noise <= nearer[side] <= far[side] / 64 + noise for side in (1, -1)
    )


def _across_jumps(
    rungs: Rungs, found: Slope, floor: float, exact: float, probe: SampledLine
) -> Slope:
    """Search for jumps, whose height is noise unless there are only a few isolated ones.

    `floor` is the known lower bound of the noise, `exact` that of the values' precision alone.
    """
    if found.kind not in ("smooth", "flat", "edge", "unresolved") or len(rungs.h) < 3:
        return found
    piece = Bar(found.value, found.error)
    if unchanged(rungs)[-1]:
        piece = Bar(0.0, TRUST * exact / float(rungs.h[0]))
        if not found.rounding and floor > exact and found.kind != "flat":
            return replace(found, piece=piece)  # the known noise explains the constant piece
    elif found.rounding:
        return found
    noise = floor if found.rounding else max(found.noise, floor)
    jump = first_jump(rungs, probe, piece.value, piece.error, noise)
    if jump is None:
        return found
    if _is_alone(jump, rungs, probe, piece, noise):
        kind: Kind = "smooth" if piece.value else "flat"
        return replace(found, value=piece.value, error=piece.error, kind=kind, rounding=0.0)
    if found.rounding:
        counts = _are_integers(rungs)
        if counts:
            return Slope(0.0, piece.error, "flat")
        found = _above(rungs, found, probe)
        return replace(found, piece=piece)
    level = max(floor, abs(jump.height) / 2)
    found = replace(_study(rungs, level, probe), rounding=level)
    return replace(_above(rungs, found, probe), piece=piece)


def _above(rungs: Rungs, found: Slope, probe: SampledLine) -> Slope:
    """Search for jumps higher than the known ones, since the treads of stairs may be stairs."""
    for _ in range(LEVELS):
        if not np.isfinite(found.error):
            break
        noise = max(found.noise, found.rounding)
        jump = first_jump(rungs, probe, found.value, found.error, noise, known=True)
        if jump is None:
            break
        level = abs(jump.height) / 2
        found = replace(_study(rungs, level, probe), rounding=level)
    return found


def _are_integers(rungs: Rungs) -> bool:
    """Tell whether all values are integers; a function that counts is constant between jumps."""
    values = np.array([rungs.centre, *rungs.plus, *rungs.minus])
    values = values[np.isfinite(values)]
    return bool(np.all(values == np.round(values)) and np.abs(values).max() < 2.0**BITS)


def _is_alone(jump: Jump, rungs: Rungs, probe: SampledLine, piece: Bar, noise: float) -> bool:
    """Tell whether the function is smooth apart from a few jumps that are too high for a solver."""
    line: Line = probe
    jumps = [jump]
    while len(jumps) <= ALONE:
        rungs, line = jump.taken_out(rungs), jump.taken_off(line)
        following = first_jump(rungs, line, *piece, noise)
        if following is None:
            least = SINGLE if len(jumps) == 1 else STEP
            return all(abs(j.height) >= least * abs(piece.value * j.place) for j in jumps)
        jump = following
        jumps.append(jump)
    return False


def _glance(rungs: Rungs, floor: float, scale: float = np.inf) -> Slope | None:
    """Extrapolate coarse rungs; return None unless accurate and confirmed by all finer rungs.

    The relative error must be below `GOOD`, or below that of noise with steps of about `scale`.
    """
    if len(rungs.h) < len(QUICK) - 1 or not np.isfinite([rungs.plus, rungs.minus]).all():
        return None
    swallowed = unchanged(rungs)[1:] & (rungs.rise[:-1] > FLAT * floor)
    if rungs.rise[0] == 0 or swallowed.any():
        return None
    noise = np.fmax(noise_of(rungs), floor)
    noise = np.maximum.accumulate(noise[::-1])[::-1]
    bar = extrapolate(rungs.h, rungs.central, 2, noise, most=2, dissent=0)
    nearby = _steepness(rungs)
    if bar is None:
        return None
    good = max(GOOD, NOISY * float(noise[-3]) / (scale * nearby))
    if not bar.error <= max(min(good, POOR) * nearby, min(good, 10 * POOR) * abs(bar.value)):
        return None
    curvature = abs(float(rungs.even[2] / rungs.h[2] ** 2))
    return Slope(*bar, "smooth", noise=float(noise[-1]), curvature=curvature, nearby=nearby)


def _study(rungs: Rungs, floor: float, probe: SampledLine) -> Slope:
    """Judge all rungs: staircase, noise, the central and both one-sided slopes."""
    if not len(rungs.h):
        return Slope(*NOTHING, "unresolved", noise=floor)
    if unchanged(rungs).all():
        return Slope(0.0, TRUST * floor / rungs.h[0], "flat", noise=floor)
    stair, tread = stairs(rungs, floor, probe)
    floor = max(floor, stair)
    width = float(rungs.h[~tread][-1]) if stair else 0.0
    rungs = rungs[~tread]
    has_plus, has_minus = np.isfinite(rungs.plus), np.isfinite(rungs.minus)
    pairs = rungs[has_plus & has_minus]
    noise = credit(noise_of(pairs), floor)
    central = widening(pairs.h, pairs.central, 2, noise)
    up, down = rungs[has_plus], rungs[has_minus]
    right = widening(up.h, up.right, 1, credit(side_noise(up.h, up.right), floor))
    left = widening(down.h, down.left, 1, credit(side_noise(down.h, down.left), floor))
    curvature = float(np.median(np.abs(pairs.even / pairs.h**2)[:3])) if len(pairs.h) else 0.0
    if central and width:
        # The rounding may shift other numbers as well, by up to a step. The slope is then that of
        # a point within `width`.
        central = Bar(central.value, central.error + width * curvature)
    kind, bar = _decide(central, left, right)
    if kind in ("smooth", "edge") and (
        _diverges(up.h, up.right, floor) or _diverges(down.h, down.left, floor)
    ):
        kind, bar = "singular", NOTHING
    return Slope(
        *bar,
        kind,
        left or NOTHING,
        right or NOTHING,
        noise=float(noise[-1]) if len(noise) else floor,
        curvature=curvature,
        nearby=float(np.max((rungs.rise / rungs.h)[:3], initial=0.0, where=rungs.rise[:3] >= 0)),
        rounding=stair,
    )


def _decide(central: Bar | None, left: Bar | None, right: Bar | None) -> tuple[Kind, Bar]:
    if left and right and abs(left.value - right.value) > 2 * (left.error + right.error):
        half = abs(left.value - right.value) / 2
        middle = (left.value + right.value) / 2
        return "kink", Bar(middle, half + max(left.error, right.error))
    if central:
        return "smooth", central
    sides = [bar for bar in (left, right) if bar]
    return ("edge", min(sides, key=lambda bar: bar.error)) if sides else ("unresolved", NOTHING)


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
