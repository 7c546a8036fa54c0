"""Which claimed gradients are valid at a kink.

A function that is not smooth at x has a set of gradients instead of one: the convex hull of all
limits of gradients at nearby points (Clarke, *Optimization and Nonsmooth Analysis*, 1983, section
2.1). A vector a belongs to the set if and only if, along every direction v::

    min slope(y, v)  <=  a·v  <=  max slope(y, v)        for y near x

For one entry with a kink, the set is the interval between the left and the right slope. For several
entries this test is not sufficient: if two of them tie for a maximum, (1, 1) passes for each entry
but is not a subgradient. Directions through both detect that. The test is not necessary either: a
unit of a network may be dead just beside x, with gradient 0. Slopes at nearby points then decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.checking.analytic import Analytic
from gradlab.gradients.slopes import Bar, Slope, slope
from gradlab.gradients.surface import Surface
from gradlab.params import Array

FACTORS = np.array([sign * k / 16 for sign in (-1, 1) for k in range(8, 17)])
"""Random factors of few bits, so that a step along a direction of them is nearly exact."""

RANDOM_DIRECTIONS = 8
"""Number of random directions through entries with kinks, after the most informative ones."""

KINK_DISTANCE = 2.0**-18
"""Distance of a point near a kink, relative to the scale."""

NEIGHBOURHOOD_SCALES = (2.0**-18, 2.0**-23, 2.0**-28)
"""Scales of neighbourhoods that may be free of jumps. With thousands of entries, some jumps lie
within 2^-18."""

NO_KINK_DISTANCE = 2.0**-34
"""Distance of a nearby point if no kink was seen. It is smaller than that to a kink close by."""

DISTINCT_BARS = 100
"""Distance, in error bars, above which two slopes differ."""

WRONG_ENTRIES_TO_TRY = 3
"""Number of wrong entries measured at nearby points before the loss is taken to be smooth."""

GENERIC_DIRECTIONS = 3
"""Number of random directions along which a claimed gradient must equal that of a nearby point. A
wrong one passes each with a probability of about the relative error bar."""

OUTSIDE_NOTE = "the gradient lies outside of them"
NOT_JOINT_NOTE = "not a joint subgradient"


@dataclass(frozen=True)
class Finding:
    """An entry with its claimed and measured slopes."""

    number: int  # the position of the entry in `Surface.x`
    slope: Slope
    analytic: float
    roundoff: float  # the round-off of the claimed value, from its dtype

    @property
    def tolerance(self) -> float:
        """Largest difference between the two values that is not a mismatch."""
        return self.slope.error + self.roundoff

    @property
    def noise(self) -> float:
        """The noise of the loss along the entry; 0 at a kink, which looks like noise."""
        return 0.0 if self.slope.kind == "kink" else self.slope.noise

    @property
    def apart(self) -> bool:
        """Whether the values differ by more than the tolerance, and the loss has one slope here."""
        one_slope = self.slope.kind in ("smooth", "flat", "edge")
        return one_slope and not abs(self.analytic - self.slope.value) <= self.tolerance

    @property
    def between_jumps(self) -> bool:
        """Whether the claim equals the slope between the jumps nearest to the point."""
        value, error = self.slope.piece
        return bool(abs(self.analytic - value) <= error + self.roundoff)


def allows(found: Slope, claimed: float, roundoff: float) -> bool:
    """Tell whether a claimed slope lies within the measured range of slopes at the point."""
    low, high = found.range
    return bool(low - roundoff <= claimed <= high + roundoff)


def between_jumps(
    surface: Surface, entries: Array, direction: Array, bits: int, enough: float
) -> Slope | None:
    """Return the slope along a direction between the jumps of a loss, or None.

    A direction through many entries crosses many jumps, whose noise makes error bars wide. In a
    neighbourhood small enough to contain no jump, the slope at the point can be measured. It is
    returned if its error bar is at most `enough`.

    Values have `bits` of precision.
    """
    line = surface.along(entries, direction)
    finest = finest_step(surface.x[entries], direction)
    for scale in NEIGHBOURHOOD_SCALES:
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
    """Return the smallest step along a direction that is accurate despite rounding of entries."""
    moved = direction != 0
    steps = np.spacing(np.abs(x[moved])) / np.abs(direction[moved])
    return 8 * float(np.max(steps, initial=0.0))


def invalid_choices(
    surface: Surface, analytic: Analytic, kinks: Sequence[Finding], rng: np.random.Generator
) -> dict[int, str]:
    """Return the entries with kinks whose claimed value is invalid, with the reason."""
    if not kinks:
        return {}
    entries = np.array([f.number for f in kinks])
    gaps = np.array([f.slope.right.value - f.slope.left.value for f in kinks])
    wrong = {
        f.number: OUTSIDE_NOTE
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
            return dict.fromkeys(map(int, entries), NOT_JOINT_NOTE)
    return {}


def is_gradient_nearby(
    surface: Surface, analytic: Analytic, entries: Collection[int], rng: np.random.Generator
) -> bool:
    """Tell whether the claim is the gradient at points near the parameters.

    Many entries may tie, such as those of max pooling at the zeros of a relu. Code that takes the
    first (or last) of equal entries then computes the gradient at points where earlier entries are
    slightly larger (or smaller). Random directions through all suspect entries distinguish this
    gradient from other vectors, such as a permutation of its entries.
    """
    which = np.array(sorted(entries))
    ramp = np.arange(surface.size, 0, -1) / surface.size
    for sign in (1, -1):
        start = surface.x + sign * KINK_DISTANCE * ramp * surface.widths
        for done in range(GENERIC_DIRECTIONS):
            v = surface.widths[which] * rng.choice(FACTORS, len(which))
            line = surface.along(which, v, start)
            found = surface.slope(line, scale=KINK_DISTANCE / surface.size, effort="brief")
            size = np.abs(analytic.values[which] * v).sum()
            bar = found.error + analytic.floor[which] @ np.abs(v) + 8 * KINK_DISTANCE * size
            apart = abs(float(analytic.values[which] @ v) - found.value)
            if (
                found.kind not in ("smooth", "flat")
                or not apart <= bar
                or bar > size / DISTINCT_BARS
            ):
                break
            if done == GENERIC_DIRECTIONS - 1:
                return True
    return False


def limits_nearby(
    surface: Surface, apart: Sequence[Finding], rng: np.random.Generator
) -> dict[int, str]:
    """Return notes on the entries `apart` whose claimed value is a limit of slopes nearby.

    The loss may be smooth along each of several entries at a common kink:
    relu(w + b) − relu(w − b) has the slope 1 along b at 0, but is constant near b = 0 if w < 0.
    """
    every = np.arange(surface.size)
    valid: dict[int, str] = {}
    for count, f in enumerate(apart):
        if count >= WRONG_ENTRIES_TO_TRY and not valid:
            break
        pull = np.ones(surface.size)
        if is_limit(
            surface, every, pull, [f.number], np.ones(1), f.analytic, f, rng, NO_KINK_DISTANCE
        ):
            valid[f.number] = f"slope {f.slope.value:.6g} here, other slopes nearby"
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
    distance: float = KINK_DISTANCE,
) -> bool:
    """Tell whether `claimed` lies between the slopes along `v` at points near the parameters.

    The direction `v` perturbs `entries`. The entries `moved` are perturbed to get nearby points, at
    a distance relative to the scale; `pull` has the sign of each one's expected effect on the
    slope. `known` is the entry if there is only one, or else the round-off of `claimed`.
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
        if _lies_between(seen, claimed, roundoff, drift=8 * distance):
            return True
    return False


def _telling_directions(
    scales: Array, off_middle: Array, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield directions through entries with kinks, the most informative first.

    The vector from the nearest point of a convex set to a point outside separates the two. Here it
    is approximated by the vector from the middle of all slopes to the claim.
    """
    way = off_middle * scales**2
    if way.any():
        yield way / np.abs(way / scales).max()
    yield scales
    for _ in range(RANDOM_DIRECTIONS):
        yield scales * rng.choice(FACTORS, len(scales))


def _lies_between(seen: list[Bar], claimed: float, roundoff: float, drift: float) -> bool:
    """Tell whether `claimed` lies between two slopes that differ significantly.

    `drift` is their relative error from being measured at nearby points.
    """
    known = [bar for bar in seen if np.isfinite(bar).all()]
    if len(known) < 2:
        return False
    low, high = min(known), max(known)
    error = max(low.error, high.error) + roundoff + drift * max(abs(low.value), abs(high.value))
    return (
        high.value - low.value > DISTINCT_BARS * error
        and low.value - error <= claimed <= high.value + error
    )


def _offsets(scales: Array, pull: Array, rng: np.random.Generator) -> Iterator[Array]:
    """Yield offsets to points of extreme slopes, then along single entries, then at random.

    If each entry has its own kink, the slope is extreme where the signs of the offsets equal those
    of `pull`. If several entries tie for a maximum, it is extreme where the offsets are
    proportional to `pull`.
    """
    extreme = np.where(pull >= 0, scales, -scales)
    yield from (pull, -pull, extreme, -extreme, scales, -scales)
    if 1 < len(scales) <= RANDOM_DIRECTIONS:
        for single in np.diag(scales):
            yield from (single, -single)
    if len(scales) > 1:
        for _ in range(RANDOM_DIRECTIONS):
            yield scales * rng.choice(FACTORS, len(scales))
