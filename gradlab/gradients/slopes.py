"""The slope of a function of one number, with an error bar that one can rely on.

`slope` looks at g around 0 on a *ladder*: pairs of points ±h whose steps h shrink by powers of
two. Difference quotients of the coarser rungs are extrapolated to h = 0 (Richardson 1911; Ridders,
*Accurate computation of F'(x) and F'(x)F''(x)*, 1982), and four rules make the error bar honest:

*Noise is measured.* What g(h) + g(−h) − 2 g(0) has beyond the curvature that coarser rungs predict,
and a third point beside the pair beyond the parabola through it, is noise of the evaluation: flat
in h where it is rounding, growing with h at a kink.

*Finer steps overrule coarser ones.* An extrapolated value counts only if the finer rungs agree with
it, each within its own noise. That defeats a kink at a distance of 1e-9, ripples that coarse steps
average away, and steps that converge to the wrong number.

*A flat stretch is looked into.* Where small steps change nothing, the function is either constant
there, or a staircase of rounded numbers: then it leaves the stretch with a jump, and the jump is
its noise. The same is true where only a part of it is rounded, so that it is smooth close by: the
noise is then the same over many coarser rungs.

*Both sides are looked at apart.* Where their slopes differ beyond doubt there is a kink; where one
side has no values, the other one gives the slope.

Most functions are done after 14 points. The whole ladder is climbed only where these leave doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from gradlab.params import Array

Kind: TypeAlias = Literal["smooth", "kink", "edge", "flat", "singular", "unresolved"]

Effort: TypeAlias = Literal["usual", "thorough", "brief"]

Line: TypeAlias = Callable[[float], tuple[float, float]]
"""``line(t) -> (how far it really went, the value there)``; NaN where there is no value."""

QUICK = (-8, -10, -12, -22, -34)
"""The rungs that suffice where all goes well, log₂(h / scale): three to extrapolate from, and
finer ones to confirm. Meant for values of 52 bits; for others they are scaled to the precision."""

INNER = tuple(range(-8, -46, -2))
"""The ladder, as far as steps are small: a far one may lead where the function is not at home."""

LADDER = (-2, -4, -6, *INNER)
"""The whole ladder."""

FINE_LADDER = tuple(range(0, -46, -1))
"""The ladder with twice as many rungs."""

OUTWARD = (2, 0)
"""Rungs beyond the ladder, for a function that does not change on it at all."""

BITS = 52

TRUST = 3.0
"""Assumed error of one evaluation, in units of the observed noise."""

GOOD = 1e-6
"""Relative error below which a slope is accepted without climbing the full ladder. It is relative
to the slope, or to the slopes nearby where those are larger."""

POOR = 1e-3
"""Relative error above which the ladder is climbed with twice as many rungs."""

LOPSIDED = 1.375
"""Rounding is often symmetric around a point; one point a rung is not, at so many steps."""

FEW = 4
"""Smallest number of finer rungs from which the noise is estimated."""

LEVEL = 64.0
"""Ratio of steps over which noise that does not change is that of rounded numbers."""

EVEN = 16.0
"""Ratio of noise that does not change: at a kink, it falls in proportion to the step."""

FLAT = 64
"""Largest ratio between the noise of a rounded value and its smallest noise."""


class Bar(NamedTuple):
    """A number and the error bar around it."""

    value: float
    error: float


NOTHING = Bar(np.nan, np.inf)


@dataclass(frozen=True)
class Slope:
    """The slope of a function at a point.

    Attributes
    ----------
    value, error : float
        The slope lies within ``value ± error``. At a kink they reach from one side's slope to the
        other's; NaN and infinity where no slope could be read off.
    kind : {"smooth", "kink", "edge", "flat", "singular", "unresolved"}
        What was seen at the point: one slope; two of them; values on one side alone; the same
        value everywhere; a slope that grows without end; or nothing clear.
    left, right : Bar
        The slopes of both sides, where they were looked at apart.
    noise : float
        The error of one evaluation, as it was seen.
    curvature : float
        About the second derivative, in size.
    nearby : float
        How steep the function is on the way to the coarsest points, in size.
    rounding : float
        The noise of numbers that are rounded inside, where that was proven by a jump; else 0.
    """

    value: float
    error: float
    kind: Kind
    left: Bar = NOTHING
    right: Bar = NOTHING
    noise: float = 0.0
    curvature: float = 0.0
    nearby: float = 0.0
    rounding: float = 0.0

    @property
    def doubt(self) -> float:
        """How far off the slope may be, or at a kink that of either side."""
        return max(self.left.error, self.right.error) if self.kind == "kink" else self.error

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest slope that the point allows."""
        bars = (self.left, self.right) if self.kind == "kink" else (Bar(self.value, self.error),)
        return min(b.value - b.error for b in bars), max(b.value + b.error for b in bars)


def slope(
    line: Line,
    *,
    scale: float = 1.0,
    reach: float = 0.0,
    finest: float = 0.0,
    bits: int = BITS,
    noise: float = 0.0,
    effort: Effort = "usual",
) -> Slope:
    """Return the slope at 0 of a function of one number.

    Parameters
    ----------
    line : callable
        ``line(t) -> (moved, value)``: t as it was realised, and the value there; NaN for none.
    scale : float
        The size of t beside which a step is small; a power of two keeps steps exact.
    reach : float
        So far steps may go where those below `scale` tell little.
    finest : float
        Smaller steps than this drown in the rounding of t.
    bits : int
        The precision of the values: 52 for float64, 23 for float32.
    noise : float
        Noise that is known to be there, whatever is seen.
    effort : {"usual", "thorough", "brief"}
        A glance first, and more where it leaves doubt; more at once; or the ladder once, and no
        more than that.

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
    probe = _Probe(line)
    with np.errstate(all="ignore"):  # beyond the edge of a domain, and where nothing is known
        if effort == "usual":
            rungs = probe.rungs(_steps(QUICK, scale, finest, bits))
            found = _glance(rungs, _floor(rungs, bits, noise))
            if found is not None:
                return found

        def climb(exponents: Sequence[int]) -> Slope:
            rungs = probe.rungs(_steps(exponents, scale, finest, bits))
            return _study(rungs, _floor(rungs, bits, noise), probe)

        if effort == "brief":
            return climb(LADDER)
        found = climb(INNER)
        if not found.doubt <= GOOD * max(abs(found.value), found.nearby):
            found = climb(LADDER)
        if found.kind == "flat":
            found = climb((*OUTWARD, *LADDER))
        if found.kind != "flat" and not found.doubt <= POOR * abs(found.value):
            top = int(np.log2(max(reach / scale, 1.0))) - 2
            found = climb((*range(top, 0, -2), *FINE_LADDER))
        return found


# Points


def _steps(exponents: Sequence[int], scale: float, finest: float, bits: int) -> list[float]:
    """Return the steps of the rungs, coarsest first."""
    scaled = {round(e * bits / BITS) if e < 0 else e for e in exponents}
    steps = (float(np.ldexp(scale, e)) for e in sorted(scaled, reverse=True))
    return [h for h in steps if h >= finest]


@dataclass(frozen=True)
class _Rungs:
    """What was seen at ±h, coarsest first; NaN where there is no value."""

    centre: float
    h: Array
    above: Array  # how far the upper point really lies away
    plus: Array  # the value there
    below: Array
    minus: Array
    aside: Array  # where the lopsided point lies
    beside: Array  # the value there

    def __getitem__(self, which: Array) -> _Rungs:
        columns = (self.h, self.above, self.plus, self.below, self.minus, self.aside, self.beside)
        return _Rungs(self.centre, *(column[which] for column in columns))

    @property
    def even(self) -> Array:
        return self.plus + self.minus - 2 * self.centre

    @property
    def central(self) -> Array:
        return np.asarray((self.plus - self.minus) / (self.above + self.below))

    @property
    def right(self) -> Array:
        return (self.plus - self.centre) / self.above

    @property
    def left(self) -> Array:
        return (self.centre - self.minus) / self.below

    @property
    def rise(self) -> Array:
        return np.asarray(
            np.fmax(np.abs(self.plus - self.centre), np.abs(self.minus - self.centre))
        )


@dataclass
class _Probe:
    """The function, remembering what it was asked."""

    line: Line
    known: dict[float, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, t: float) -> tuple[float, float]:
        if t not in self.known:
            self.known[t] = self.line(t)
        return self.known[t]

    def rungs(self, steps: Sequence[float]) -> _Rungs:
        sides = [1 if number % 2 else -1 for number in range(len(steps))]
        # The two coarsest rungs have nothing to be compared with, and need no third point.
        places = [np.nan if k < 2 else LOPSIDED * sides[k] * h for k, h in enumerate(steps)]
        ups, downs, thirds = (
            np.array([(t, t) if t != t else self(t) for t in points], float).reshape(-1, 2).T
            for points in (steps, [-h for h in steps], places)
        )
        h = np.array(steps, float)
        return _Rungs(self(0.0)[1], h, ups[0], ups[1], -downs[0], downs[1], thirds[0], thirds[1])


def _unchanged(rungs: _Rungs) -> Array:
    return np.asarray((rungs.plus == rungs.centre) & (rungs.minus == rungs.centre))


# Verdicts


def _glance(rungs: _Rungs, floor: float) -> Slope | None:
    """Take the coarse rungs' extrapolation if it is good and all finer rungs confirm it."""
    if len(rungs.h) < len(QUICK) or not np.isfinite([rungs.plus, rungs.minus]).all():
        return None
    swallowed = _unchanged(rungs)[1:] & (rungs.rise[:-1] > FLAT * floor)
    if rungs.rise[0] == 0 or swallowed.any():
        return None
    noise = np.fmax(_noise(rungs), floor)
    noise = np.maximum.accumulate(noise[::-1])[::-1]
    bar = _extrapolate(rungs.h, rungs.central, 2, noise, most=2, dissent=0)
    nearby = float(rungs.rise[0] / rungs.h[0])
    if bar is None or bar.error > GOOD * max(abs(bar.value), nearby):
        return None
    curvature = abs(float(rungs.even[2] / rungs.h[2] ** 2))
    return Slope(*bar, "smooth", noise=float(noise[-1]), curvature=curvature, nearby=nearby)


def _study(rungs: _Rungs, floor: float, probe: _Probe) -> Slope:
    """Look at everything: stairs, noise, both sides."""
    if not len(rungs.h):
        return Slope(*NOTHING, "unresolved", noise=floor)
    if _unchanged(rungs).all():
        return Slope(0.0, TRUST * floor / rungs.h[0], "flat", noise=floor)
    stair, tread = _stairs(rungs, floor, probe)
    rounding = max(stair, _partial_stairs(rungs, floor, probe))
    floor = max(floor, rounding)
    width = float(rungs.h[~tread][-1]) if stair else 0.0
    rungs = rungs[~tread]
    has_plus, has_minus = np.isfinite(rungs.plus), np.isfinite(rungs.minus)
    pairs = rungs[has_plus & has_minus]
    noise = _credit(_noise(pairs), floor)
    central = _widening(pairs.h, pairs.central, 2, noise)
    up, down = rungs[has_plus], rungs[has_minus]
    right = _widening(up.h, up.right, 1, _credit(_side_noise(up.h, up.right), floor))
    left = _widening(down.h, down.left, 1, _credit(_side_noise(down.h, down.left), floor))
    curvature = float(np.median(np.abs(pairs.even / pairs.h**2)[:3])) if len(pairs.h) else 0.0
    if central and width:
        # What rounds this number may round others too, and so look at the slope somewhere beside.
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
        rounding=rounding,
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
    """Tell whether a one-sided quotient grows without end, as a power of h or its logarithm."""
    change, limit = np.diff(q), 100 * floor / h[1:]
    seen = np.flatnonzero(limit < np.abs(change).max(initial=0.0))[-6:]
    if len(seen) < 6 or not change[seen].all():
        return False
    growth = change[seen][1:] / change[seen][:-1]
    if growth.min() <= 0:
        return False
    power = np.log(growth) / np.log(h[seen][:-1] / h[seen][1:])
    # Steadily, and not as 1/h, which is what a single jump does.
    return bool(power.min() > -0.01 and power.max() < 0.8 and np.ptp(power) < 0.1)


# Extrapolation


def _widening(h: Array, q: Array, power: int, noise: Array) -> Bar | None:
    """Extrapolate; where no value is confirmed, the noise must be larger than was seen."""
    for factor in (1, 4, 16, 64):
        bar = _extrapolate(h, q, power, factor * noise, most=3, dissent=1)
        if bar is not None:
            return bar
    return None


def _extrapolate(
    h: Array, q: Array, power: int, noise: Array, *, most: int, dissent: int
) -> Bar | None:
    """Extrapolate difference quotients to h = 0, from the rungs that give the smallest error bar.

    Parameters
    ----------
    h, q : ndarray
        Steps, coarsest first, and quotients.
    power : int
        Of h in the error's expansion: 2 for central quotients, 1 for one-sided ones.
    noise : ndarray
        The error of an evaluation on each rung.
    most : int
        How many orders of the error to remove at most.
    dissent : int
        How many finer rungs may disagree, by accident.
    """
    z = h**power
    # A central quotient divides the errors of two evaluations by 2 h, a one-sided one by h.
    roundoff = TRUST * noise * (1 if power == 2 else 2) / h
    table = [[float(value)] for value in q]  # Neville's: a row a rung, a column an order
    carried = [[float(error)] for error in roundoff]  # what round-off makes of each member
    best: Bar | None = None
    for i in reversed(range(len(h))):
        for order in range(1, most + 1):
            j = i + order
            if j >= len(h) or h[j - 1] / h[j] > 20:  # too far apart to belong together
                break
            coarse, fine = table[i][order - 1], table[i + 1][order - 1]
            weight = float(z[j] / (z[i] - z[j]))
            value = fine + weight * (fine - coarse)
            noisy = (1 + weight) * carried[i + 1][order - 1] + weight * carried[i][order - 1]
            table[i].append(value)
            carried[i].append(noisy)
            error = 2 * abs(value - fine) + noisy
            if len(table[i + 1]) > order:
                # Where derivatives are missing, columns converge at one slow pace: the step to the
                # next row tells, as long as that is h^(1/4) or faster.
                error = max(error, 4 * abs(value - table[i + 1][order]))
            if best is not None and not error < best.error:
                continue
            own = abs(q[j] - value) * z[j + 1 :] / z[j]  # what finer rungs have of the error of q
            apart = np.abs(q[j + 1 :] - value) > error + own + roundoff[j + 1 :]
            if np.isfinite(error) and apart.sum() <= dissent:
                best = Bar(float(value), float(error))
    return best


def _neville(z: Array, q: Array, at: float) -> float:
    """Evaluate the polynomial through the points (z, q)."""
    row = [float(value) for value in q]
    for order in range(1, len(row)):
        for i in range(len(row) - order):
            j = i + order
            row[i] = ((at - z[j]) * row[i] - (at - z[i]) * row[i + 1]) / (z[i] - z[j])
    return row[0]


# Noise


def _floor(rungs: _Rungs, bits: int, noise: float) -> float:
    """Half a unit in the last place of the values: the least noise that there can be."""
    size = np.nanmax(np.abs([0.0, rungs.centre, *rungs.plus[-3:], *rungs.minus[-3:]]))
    return max(float(np.ldexp(size, -bits - 1)), noise, float(np.finfo(np.float64).tiny))


def _noise(rungs: _Rungs) -> Array:
    """Return the noise of an evaluation, as each rung shows it; NaN where it cannot.

    The even part of a smooth function is h² (a + b h² + ...), which up to three coarser rungs
    predict. The parabola through a pair and the centre predicts the third point, but for the cubic
    term, which the coarser rung's slope tells. Both are divided by what independent errors of one
    standard deviation would make of them.
    """
    h, z, even, q, t = rungs.h, rungs.h**2, rungs.even, rungs.central, rungs.aside
    noise = np.full(len(h), np.nan)
    for i in range(2, len(h)):
        before = slice(max(i - 3, 0), i)
        predicted = z[i] * _neville(z[before], even[before] / z[before], z[i])
        cubic = (q[i - 1] - q[i]) / (z[i - 1] - z[i])
        parabola = rungs.centre + q[i] * t[i] + even[i] / 2 * t[i] ** 2 / z[i]
        third = parabola + cubic * t[i] * (t[i] ** 2 - z[i])
        noise[i] = np.fmax(
            abs(even[i] - predicted) / np.sqrt(6), abs(rungs.beside[i] - third) / 2.1
        )
    return noise


def _side_noise(h: Array, q: Array) -> Array:
    """Return the noise as a one-sided quotient shows it against a parabola through three rungs."""
    noise = np.full(len(h), np.nan)
    for i in range(3, len(h)):
        predicted = _neville(h[i - 3 : i], q[i - 3 : i], h[i])
        noise[i] = abs(q[i] - predicted) * h[i] / np.sqrt(2)
    return noise


def _credit(noise: Array, floor: float) -> Array:
    """Return the noise that each rung has to be credited with: the largest of all finer ones.

    A coarse rung's own is left out, since it has what the prediction lacks; the finest rungs get
    their coarser neighbours' besides, since they would be judged by too few numbers.
    """
    noise = np.fmax(noise, floor)
    finer = np.maximum.accumulate(noise[::-1])[::-1]
    credit = np.append(finer[1:], finer[-1:])
    for i in range(max(len(noise) - FEW, 0), len(noise)):
        credit[i] = noise[max(i - 2, 0) :].max()
    return credit


def _stairs(rungs: _Rungs, floor: float, probe: _Probe) -> tuple[float, Array]:
    """Tell a staircase from flat ground: return its noise, and which rungs lie on one tread."""
    tread = np.logical_and.accumulate(_unchanged(rungs)[::-1])[::-1]
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


def _partial_stairs(rungs: _Rungs, floor: float, probe: _Probe) -> float:
    """Return the noise of a function of which a part is a staircase, 0 if it is none.

    It is smooth close by, and has noise that does not change over the coarser rungs. So have
    ripples; but between the last noisy rung and the smooth ones, a staircase jumps.
    """
    noise = _noise(rungs)
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


def _jump_off_line(probe: _Probe, slope: float, near: float, far: float) -> float:
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


def _jump(probe: _Probe, near: float, far: float) -> float:
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
