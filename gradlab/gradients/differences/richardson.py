"""Richardson extrapolation: central differences of large steps, corrected term by term.

The central difference D(h) of a smooth function differs from f' by a series in h². Two of them
cancel the first term of the series, three the second, and so on. With steps that halve::

    T[k, 0] = D(h / 2^k)
    T[k, j] = T[k, j-1] + (T[k, j-1] - T[k-1, j-1]) / (4^j - 1)        error ~ h^(2j + 2)

Large steps have little round-off, ε|f|/h, and the extrapolation at most about doubles it: most of
the digits that a plain difference loses are kept. The distance of T[k, j] from the two members that
it was computed from estimates its truncation error. Each entry uses the member of the table with
the smallest estimate: Ridders, *Accurate computation of F'(x) and F'(x)F''(x)*, Advances
in Engineering Software 4 (1982); Press et al., *Numerical Recipes*, 3rd ed., section 5.7.

There are two deviations from these. First, the estimate includes the round-off of the step, and the
table ends where round-off dominates: where round-off alone exceeds the smallest estimate, or a row
has no smaller estimate. Second, large steps are not trusted alone, because they may agree on a
wrong number, for a ripple or for a function with the step as its period. Two fine steps come first,
and bound the derivative. Members of the table outside these bounds are ignored. If the one-sided
slopes differ much over the fine steps, the steps are made finer until that stops helping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab.errors import NonFiniteError, OptionError, ReadOnlyError
from gradlab.gradients.differences.numerical import Numerical
from gradlab.gradients.differences.steps import STEP_REDUCTION, finer_steps, steps
from gradlab.gradients.perturb import Recorded
from gradlab.gradients.probing import Probe
from gradlab.gradients.slopes import Bar
from gradlab.params import Array, floating

LARGEST_STEP = 2.0**-3
"""Largest step, for a number of order 1."""

MAX_ROWS = 40
"""Largest number of steps; each is half the one before."""

DOUBTFUL_RELATIVE_ERROR = 2.0**-10
"""Relative error of the slope over fine steps above which finer steps are tried."""

ERROR_MARGIN = 4.0
"""Factor by which the error may exceed an estimate from few values."""


@dataclass(frozen=True)
class Richardson(Numerical):
    """Extrapolated central differences: each entry at its own best steps and order.

    An entry takes 16 to 20 evaluations if the loss is smooth on the scale of its parameters, and up
    to about 40 if it varies much faster. The error is then a few tens of the round-off ε|f|. At a
    kink, the result is the mean of the one-sided slopes.

    Parameters
    ----------
    step : float or structure, optional
        The same first, largest step for every entry, or a structure like the parameters with a
        number for each leaf or for each entry. By default 1/8, scaled to each entry:
        max(1, |x|)/8, rounded to a power of two. Steps at which the loss is not finite are skipped,
        so that the domain may end within the first step.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    evaluation, workers, timeout, resume : optional
        How the loss is evaluated: see `Numerical`. It is not recorded, because each entry
        has its own steps.

    Examples
    --------
    >>> import numpy as np
    >>> f = Richardson().value_and_grad(lambda x: np.sum(np.exp(x)))
    >>> x = np.array([0.0, 1.0])
    >>> value, grads = f(x)
    >>> bool(np.all(np.abs(grads - np.exp(x)) < 1e-13))
    True
    """

    name = "richardson"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.evaluation, Recorded):
            raise OptionError(
                "evaluation=Recorded(): richardson takes different steps for each entry, and "
                "records no loss; give Loop() or Workers()"
            )

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Extrapolate for each entry."""
        x = probe.leaves[leaf]
        given = None if probe.given_steps is None else probe.given_steps[leaf]
        largest, fine = ladder(x, given, probe.precision)
        probe.require_apart(leaf, x + fine, x - fine)
        rows = zip(x.flat, largest.flat, fine.flat, strict=True)
        found = (self._slope(probe, leaf, i, *row) for i, row in enumerate(rows))
        return np.fromiter(found, x.dtype, x.size).reshape(x.shape)

    def _slope(self, probe: Probe, leaf: int, i: int, x: Any, largest: float, fine: float) -> Any:
        found = extrapolate(
            partial(probe.at, leaf, i),
            x,
            largest,
            fine,
            centre=probe.value,
            precision=probe.precision,
            doubt=probe.look_into,
        )
        if found.error > DOUBTFUL_RELATIVE_ERROR * abs(found.value):
            probe.look_into()
        return found.value


def extrapolate(
    f: Callable[[Any], Any],
    x: Any,
    largest: float,
    fine: float,
    *,
    centre: Any = None,
    precision: float = 0.0,
    doubt: Callable[[], object] | None = None,
) -> Bar:
    """Differentiate a function of one number at x; the error is estimated, not bounded.

    The steps of the table halve from `largest` on. The step `fine`, with its double, bounds the
    derivative; it is made much finer if f has no value there. A step is skipped if the result is
    not finite, or if f raises an ArithmeticError or a ValueError. A NonFiniteError is raised if f
    has no value on both sides of x; an error that f raises there is passed on.

    `centre` is f(x), if it is known, and `precision` the relative error of an evaluation, if it is
    larger than its dtype's. `doubt` is called if values near x contradict each other; it may raise
    an error that explains them. With it, the fine steps are made finer while the slope changes.

    Examples
    --------
    >>> value, error = extrapolate(np.log, 2.0, 0.25, 2.0**-17)
    >>> bool(abs(value - 0.5) < error < 1e-13)
    True
    """
    f0 = f(x) if centre is None else centre
    with np.errstate(all="ignore"):  # a domain may end between the steps
        try:
            guard = _fine_slope(f, x, f0, fine, precision, doubt)
        except ReadOnlyError:
            raise
        except (ArithmeticError, ValueError):
            finer = fine / 2**14
            if x != 0:
                finer = min(finer, abs(x) / STEP_REDUCTION)
            guard = _fine_slope(f, x, f0, finer, precision, doubt)
        best = guard
        row: list[Any] = []
        for k in range(MAX_ROWS):
            try:
                slope, _, noise = central_quotient(f, x, f0, largest / 2**k, precision)
            except ReadOnlyError:
                raise
            except (ArithmeticError, ValueError):
                row = []
                continue
            previous, row, before = row, next_row(row, slope), best
            for j in range(1, len(row)):
                error = max(abs(row[j] - row[j - 1]), abs(row[j] - previous[j - 1])) + noise
                within = abs(row[j] - guard.value) <= error + ERROR_MARGIN * guard.error
                if within and error < best.error:
                    best = Bar(row[j], error)
            if noise >= best.error or best is before is not guard:
                break
    return best


def _fine_slope(
    f: Callable[[Any], Any],
    x: Any,
    f0: Any,
    h: float,
    precision: float,
    doubt: Callable[[], object] | None,
) -> Bar:
    """Differentiate by four values near x, with finer steps while the slope still changes."""
    best = found = extrapolate_once(f, x, f0, h, precision)
    for level, finer in enumerate(finer_steps(x, h) if doubt else ()):
        if best.error <= DOUBTFUL_RELATIVE_ERROR * abs(best.value):
            break
        before, found = found, extrapolate_once(f, x, f0, finer, precision)
        noise = 4 * _epsilon(x, f0, precision) * (abs(f0) / finer + abs(found.value))
        # A growing error means a spike at x, or a far steeper function.
        grows = found.error > max(4 * before.error, 4 * noise)
        if found.error < best.error or grows:
            best = found
        if noise > best.error or (abs(found.value - before.value) <= noise and not grows):
            break
        if level == 0 and doubt:
            doubt()
    return best


def extrapolate_once(
    f: Callable[[Any], Any], x: Any, f0: Any, h: float, precision: float = 0.0
) -> Bar:
    """Differentiate by four values, with an estimate of the error.

    The difference of the two quotients exceeds the truncation error of the extrapolated one. The
    bend, half the difference of the one-sided slopes, is proportional to the step if f is smooth,
    so that it cancels. At a kink it is half the jump of the slope for either step.

    Examples
    --------
    >>> value, error = extrapolate_once(np.exp, 0.0, 1.0, 2.0**-10)
    >>> bool(abs(value - 1.0) < error < 1e-5)
    True
    >>> extrapolate_once(abs, 0.0, 0.0, 2.0**-10)
    Bar(value=0.0, error=1.00000...)
    """
    near, bend, noise = central_quotient(f, x, f0, h, precision)
    far, wide, _ = central_quotient(f, x, f0, 2 * h, precision)
    return Bar(near + (near - far) / 3, abs(near - far) + abs(2 * bend - wide) + noise)


def central_quotient(
    f: Callable[[Any], Any], x: Any, f0: Any, h: float, precision: float = 0.0
) -> tuple[Any, Any, Any]:
    """Return the slope over x ± h, half the difference of one-sided slopes, and their round-off.

    A NonFiniteError is raised if the slope is not finite.
    """
    above, below = f(x + h), f(x - h)
    width = (x + h) - (x - h)
    slope, bend = (above - below) / width, ((above - f0) - (f0 - below)) / width
    if not np.isfinite(abs(slope) + abs(bend)):
        raise NonFiniteError(f"the function has no slope over {x} ± {h}")
    noise = _epsilon(x, f0, precision) * (abs(above) + abs(below)) / width
    return slope, bend, noise


def _epsilon(x: Any, f0: Any, precision: float) -> float:
    """Return the larger machine epsilon of x and f, or the known precision if it is larger."""
    kinds = [floating(np.asarray(value)).dtype for value in (x, f0)]
    return max(precision, *(float(np.finfo(kind).eps) for kind in kinds))


def next_row(previous: Sequence[Any], quotient: Any) -> list[Any]:
    """Return the next row of the table, from the row before and the quotient of half its step.

    Examples
    --------
    >>> next_row([], 7.0), next_row([7.0], 4.0)  # x³ at 1, with steps 2 and 1
    ([7.0], [4.0, 3.0])
    """
    row = [quotient]
    for j, coarser in enumerate(previous, start=1):
        row.append(row[-1] + (row[-1] - coarser) / (4**j - 1))
    return row


def ladder(x: Array, step: Any, precision: float = 0.0) -> tuple[Array, Array]:
    """Return the first step of the table and the fine step for each entry of a leaf.

    Examples
    --------
    >>> largest, fine = ladder(np.array([0.0, 300.0]), None)
    >>> np.log2(largest), np.log2(fine)
    (array([-3.,  5.]), array([-17.,  -9.]))
    """
    scale = np.exp2(np.round(np.log2(np.maximum(1, np.abs(x)))))
    largest = (
        (LARGEST_STEP * scale).astype(x.dtype, copy=False)
        if step is None
        else steps(x, step, order=0)
    )
    return largest, np.minimum(steps(x, None, 2, precision), largest / 4)
