"""At a kink, which gradients may be claimed.

A function that is not smooth at x has, instead of one gradient, the set of all limits of gradients
nearby and their mixtures (Clarke, *Optimization and Nonsmooth Analysis*, 1983, section 2.1). A
vector a belongs to it if and only if, along every direction v::

    min slope(y, v)  <=  a·v  <=  max slope(y, v)        for y near x

For one kink of one entry that is the interval between the left and the right slope. But this
interval is not sufficient for several entries together: where two of them tie for a maximum,
(1, 1) passes for each and is no subgradient, which directions through both tell. Nor is it
necessary: a unit of a network may be dead just beside x, and its gradient 0; then slopes at points
nearby are looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from gradlab.checking.analytic import Analytic
from gradlab.checking.finding import Finding
from gradlab.gradients.slopes import Bar, Slope, slope
from gradlab.gradients.surface import Surface
from gradlab.params import Array

EIGHTHS = np.array([sign * k / 16 for sign in (-1, 1) for k in range(8, 17)])
"""Numbers of few bits, so that a step along a direction of them is nearly exact."""

DIRECTIONS = 8
"""Number of random directions through the entries with kinks, beside the most informative ones."""

NEAR = 2.0**-18
"""Distance of a point near a kink, relative to the scale."""

BETWEEN = (2.0**-18, 2.0**-23, 2.0**-28)
"""Scales of neighbourhoods without a jump. Of the jumps of thousands of entries, some lie within
2^-18."""

NEARER = 2.0**-34
"""The same distance where no kink was seen: smaller than to a kink that is merely close."""

CLEARLY = 100
"""Distance, in error bars, above which two slopes differ."""

TRIED = 3
"""Number of wrong entries measured at nearby points before the loss is taken to be smooth."""

GENERIC = 3
"""Number of random directions along which a claimed gradient must be that of a nearby point. One
that is not passes each with a probability of about its bar, relative to the gradient."""

OUTSIDE = "it is neither, nor between them"
TOGETHER = "no subgradient with the others"


def allows(found: Slope, claimed: float, roundoff: float) -> bool:
    """Tell whether a claimed slope is one that the loss has at the point, or lies between two."""
    low, high = found.range
    return bool(low - roundoff <= claimed <= high + roundoff)


def between_jumps(
    surface: Surface, entries: Array, direction: Array, bits: int, enough: float
) -> Slope | None:
    """Return the slope along a direction between the jumps of a loss, if there is a clear one.

    Many jumps lie under a direction through many entries, and their noise leaves wide bars. A
    neighbourhood small enough to be without a jump shows the slope at the point. It counts if its
    error bar is at most `enough`.

    Values have `bits` of precision.
    """
    line = surface.along(entries, direction)
    finest = finest_step(surface.x[entries], direction)
    for scale in BETWEEN:
        near = slope(
            line,
            scale=scale,
            finest=finest,
            bits=bits,
            noise=surface.unsteadiness,
            effort="brief",
        )
        if near.kind in ("smooth", "flat") and not near.rounding and near.error <= enough:
            return near
    return None


def finest_step(x: Array, direction: Array) -> float:
    """Return the smallest step along a direction that is not lost in the rounding of entries."""
    moved = direction != 0
    steps = np.spacing(np.abs(x[moved])) / np.abs(direction[moved])
    return 8 * float(np.max(steps, initial=0.0))


def invalid_choices(
    surface: Surface, analytic: Analytic, kinks: Sequence[Finding], rng: np.random.Generator
) -> dict[int, str]:
    """Return the entries with kinks whose claimed value may not be chosen, and why."""
    if not kinks:
        return {}
    entries = np.array([f.number for f in kinks])
    gaps = np.array([f.slope.right.value - f.slope.left.value for f in kinks])
    wrong = {
        f.number: OUTSIDE
        for f in kinks
        if not allows(f.slope, f.analytic, f.roundoff)
        and not is_limit(surface, entries, gaps, [f.number], np.ones(1), f.analytic, f, rng)
    }
    if wrong or len(kinks) == 1:
        return wrong
    middles = np.array([f.slope.value for f in kinks])
    for v in _telling_directions(surface.scales[entries], analytic.values[entries] - middles, rng):
        claimed = float(analytic.values[entries] @ v)
        roundoff = float(analytic.floor[entries] @ np.abs(v))
        along = surface.slope(surface.along(entries, v))
        if not allows(along, claimed, roundoff) and not is_limit(
            surface, entries, gaps, entries, v, claimed, roundoff, rng
        ):
            return dict.fromkeys(map(int, entries), TOGETHER)
    return {}


def is_gradient_nearby(
    surface: Surface, analytic: Analytic, entries: Collection[int], rng: np.random.Generator
) -> bool:
    """Tell whether what is claimed is the gradient at points near the parameters.

    Where many entries tie, as those of max pooling do at the zeros of a relu, code that takes the
    first (or the last) of equal ones computes the gradient of points at which earlier entries are
    larger (or smaller) by a trifle. Random directions through all entries in question tell a
    gradient from any other vector with the same entries out of order.
    """
    which = np.array(sorted(entries))
    ramp = np.arange(surface.size, 0, -1) / surface.size
    for sign in (1, -1):
        start = surface.x + sign * NEAR * ramp * surface.widths
        for done in range(GENERIC):
            v = surface.widths[which] * rng.choice(EIGHTHS, len(which))
            line = surface.along(which, v, start)
            found = surface.slope(line, scale=NEAR / surface.size, effort="brief")
            size = np.abs(analytic.values[which] * v).sum()
            bar = found.error + analytic.floor[which] @ np.abs(v) + 8 * NEAR * size
            apart = abs(float(analytic.values[which] @ v) - found.value)
            if found.kind not in ("smooth", "flat") or not apart <= bar or bar > size / CLEARLY:
                break
            if done == GENERIC - 1:
                return True
    return False


def limits_nearby(
    surface: Surface, apart: Sequence[Finding], rng: np.random.Generator
) -> dict[int, str]:
    """Return those of the entries `apart` whose claimed value is a limit of slopes nearby.

    Where several entries meet in a kink, the loss may be smooth along each of them:
    relu(w + b) − relu(w − b) at 0 is b along b, and yet constant where w < 0.
    """
    every = np.arange(surface.size)
    valid: dict[int, str] = {}
    for count, f in enumerate(apart):
        if count >= TRIED and not valid:
            break
        pull = np.ones(surface.size)
        if is_limit(surface, every, pull, [f.number], np.ones(1), f.analytic, f, rng, NEARER):
            valid[f.number] = f"slope {f.slope.value:.6g}, and others nearby"
    return valid


def is_limit(
    surface: Surface,
    moved: Array,
    pull: Array,
    entries: Sequence[int] | Array,
    v: Array,
    claimed: float,
    known: Finding | float,
    rng: np.random.Generator,
    distance: float = NEAR,
) -> bool:
    """Tell whether `claimed` lies between the slopes along `v` at points near the parameters.

    Parameters
    ----------
    moved, pull : ndarray
        Which entries make a point one nearby, and which way each is expected to raise the slope.
    entries, v : ndarray
        The direction.
    claimed : float
        What the gradient under test makes of it.
    known : Finding or float
        The entry in question, or the round-off of `claimed`.
    distance : float
        How far away the points lie, beside the scale.
    """
    roundoff, noise = (known, 0.0) if isinstance(known, float) else (known.roundoff, known.noise)
    entries = np.asarray(entries)
    if len(entries) == 1:  # in units of the entry, as along a direction
        v = v * surface.scales[entries]
        claimed, roundoff = claimed * float(v[0]), roundoff * float(v[0])
    weights = np.zeros(surface.size)
    weights[entries] = v
    finest = finest_step(surface.x[entries], v)
    seen: list[Bar] = []
    for offset in _offsets(surface.scales[moved], np.sign(pull) * weights[moved], rng):
        start = surface.x.copy()
        start[moved] += distance * offset
        line = surface.along(entries, v, start)
        found = surface.slope(line, scale=distance, finest=finest, noise=noise, effort="brief")
        kinked = found.kind == "kink"
        seen += [found.left, found.right] if kinked else [Bar(found.value, found.error)]
        if _span(seen, claimed, roundoff, drift=8 * distance):
            return True
    return False


def _telling_directions(
    scales: Array, off_middle: Array, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield directions through entries with kinks: those most likely to tell come first.

    What separates a point from a convex set is the way from the set's nearest point to it; here
    about the way from the middle of all slopes to what is claimed.
    """
    way = off_middle * scales**2
    if way.any():
        yield way / np.abs(way / scales).max()
    yield scales
    for _ in range(DIRECTIONS):
        yield scales * rng.choice(EIGHTHS, len(scales))


def _span(seen: list[Bar], claimed: float, roundoff: float, drift: float) -> bool:
    """Tell whether two slopes that are certainly not the same have `claimed` between them.

    They may be off by the share `drift`, for being looked at nearby.
    """
    known = [bar for bar in seen if np.isfinite(bar).all()]
    if len(known) < 2:
        return False
    low, high = min(known), max(known)
    error = max(low.error, high.error) + roundoff + drift * max(abs(low.value), abs(high.value))
    return (
        high.value - low.value > CLEARLY * error
        and low.value - error <= claimed <= high.value + error
    )


def _offsets(scales: Array, pull: Array, rng: np.random.Generator) -> Iterator[Array]:
    """Yield offsets: where the slope should be extreme, along single entries, and at random.

    Where entries have kinks of their own, the slope is extreme where each goes the way it pulls;
    where several tie for a maximum, where they are ranked as they pull.
    """
    extreme = np.where(pull >= 0, scales, -scales)
    yield from (pull, -pull, extreme, -extreme, scales, -scales)
    if 1 < len(scales) <= DIRECTIONS:
        for single in np.diag(scales):
            yield from (single, -single)
    if len(scales) > 1:
        for _ in range(DIRECTIONS):
            yield scales * rng.choice(EIGHTHS, len(scales))
