"""Richardson extrapolation: central differences of large steps, rid of their error term by term.

The central difference D(h) of a smooth function differs from f' by a series in h², so that of two
of them the first term can be cancelled, of three the second, and so on. With steps that halve::

    T[k, 0] = D(h / 2^k)
    T[k, j] = T[k, j-1] + (T[k, j-1] - T[k-1, j-1]) / (4^j - 1)        error ~ h^(2j + 2)

Large steps have little round-off, ε|f|/h, and the extrapolation adds no more than about as much
again: most of the digits that a plain difference must lose are kept. How far T[k, j] lies from the
two that it was made of estimates its truncation error, and each entry takes the member of the
table whose estimate is least: Ridders, *Accurate computation of F'(x) and F'(x)F''(x)*, Advances
in Engineering Software 4 (1982); Press et al., *Numerical Recipes*, 3rd ed., section 5.7.

Two things differ from these. The round-off of the step is part of the estimate, so that the table
ends where round-off takes over: where it alone exceeds the least estimate, or a row has no lesser
one. And large steps are not trusted alone, for they may agree on a wrong number: of a ripple, or a
function whose period they are. One central difference of a fine step comes first, and the slopes
to both sides of it say where the derivative lies; what is further off than they does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gradlab.errors import NonFiniteError
from gradlab.gradients.finite_differences import Difference, Probe, steps
from gradlab.params import Array, floating

FIRST = 2.0**-3
"""The first step, for a number of order 1."""


@dataclass(frozen=True)
class Richardson(Difference):
    """Extrapolated central differences: each entry at its own best steps and order.

    About a dozen evaluations an entry where the loss is smooth on the scale of its parameters,
    and up to some thirty where it is not. The error is then a few units of round-off ε|f|; it is
    never more than twice how far the slopes to both sides, ∛ε away, lie apart, beyond that of a
    central difference. At a kink the result is the mean of the two slopes.

    Parameters
    ----------
    step : float, optional
        The same first, largest step for every entry. By default 1/8, scaled to each entry:
        max(1, |x|)/8, rounded to a power of two. Steps at which the loss is not finite are passed
        over, so that a domain may end closer than that.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.

    Examples
    --------
    >>> import numpy as np
    >>> f = Richardson().value_and_grad(lambda x: np.sum(np.exp(x)))
    >>> x = np.array([0.0, 1.0])
    >>> value, grads = f(x)
    >>> bool(np.all(np.abs(grads - np.exp(x)) < 1e-13))
    True
    """

    name: ClassVar[str] = "richardson"

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Extrapolate for each entry."""
        x = probe.leaves[leaf]
        largest, finest = ladder(x, self.step)
        probe.width(leaf, x + finest, x - finest)
        ends = zip(x.flat, largest.flat, finest.flat, strict=True)
        found = [
            extrapolate(partial(probe.at, leaf, i), *row, centre=probe.value).value
            for i, row in enumerate(ends)
        ]
        return np.array(found, x.dtype).reshape(x.shape)


class Estimate(NamedTuple):
    """A derivative and about how far it may be off."""

    value: float
    error: float


def extrapolate(
    f: Callable[[Any], Any], x: Any, largest: float, finest: float, *, centre: Any = None
) -> Estimate:
    """Differentiate a function of one number.

    Parameters
    ----------
    f : callable
        Of a number. A result that is not finite, an ArithmeticError and a ValueError are no value.
    x : float
        Where; its dtype is that of the steps.
    largest, finest : float
        The first step, and the last, which says where the derivative lies.
    centre : float, optional
        The value of f at x.

    Returns
    -------
    Estimate
        The error is estimated, not bounded; at most how far the slopes over `finest` to both
        sides are from their mean, and the round-off of that.

    Raises
    ------
    NonFiniteError
        If f is not finite at the finest step; what it raises there comes through.

    Examples
    --------
    >>> value, error = extrapolate(np.log, 2.0, 0.25, 2.0**-17)
    >>> bool(abs(value - 0.5) < error < 1e-13)
    True
    """
    f0 = f(x) if centre is None else centre
    epsilon = max(np.finfo(floating(np.asarray(value)).dtype).eps for value in (x, f0))

    def quotient(h: Any) -> tuple[Any, Any, Any]:
        """Return the slope, its round-off, and how far the slopes to both sides are from it."""
        above, below = f(x + h), f(x - h)
        width = (x + h) - (x - h)
        if not np.isfinite(above - below):
            raise NonFiniteError(f"the function is not finite within {h} of {x}")
        noise = epsilon * (abs(above) + abs(below)) / width
        return (above - below) / width, noise, abs(above - 2 * f0 + below) / width

    slope, noise, bend = quotient(finest)
    best = fine = Estimate(slope, bend + noise)
    previous: list[Any] = []
    h = largest
    while h > finest:
        row = []
        try:
            with np.errstate(all="ignore"):  # a domain may end nearer than that
                slope, noise, _ = quotient(h)
            row = next_row(previous, slope)
        except (ArithmeticError, ValueError):
            pass
        before = best
        for j in range(1, len(row)):
            error = max(abs(row[j] - row[j - 1]), abs(row[j] - previous[j - 1])) + noise
            if error < best.error and abs(row[j] - fine.value) <= error + fine.error:
                best = Estimate(row[j], error)
        if noise >= best.error or best is before is not fine:
            break
        previous, h = row, h / 2
    return best


def next_row(previous: Sequence[Any], quotient: Any) -> list[Any]:
    """Extend the table: from the row of a step and the quotient of its half, the row of that.

    Examples
    --------
    >>> next_row([], 7.0), next_row([7.0], 4.0)  # x³ at 1, with steps 2 and 1
    ([7.0], [4.0, 3.0])
    """
    row = [quotient]
    for j, coarser in enumerate(previous, start=1):
        row.append(row[-1] + (row[-1] - coarser) / (4**j - 1))
    return row


def ladder(x: Array, step: float | None) -> tuple[Array, Array]:
    """Return the largest and the finest step of each entry of a leaf.

    Examples
    --------
    >>> largest, finest = ladder(np.array([0.0, 300.0]), None)
    >>> np.log2(largest), np.log2(finest)
    (array([-3.,  5.]), array([-17.,  -9.]))
    """
    scale = np.exp2(np.round(np.log2(np.maximum(1, np.abs(x)))))
    largest = (FIRST * scale).astype(x.dtype) if step is None else steps(x, step, order=0)
    return largest, np.minimum(steps(x, None, order=2), largest / 4)
