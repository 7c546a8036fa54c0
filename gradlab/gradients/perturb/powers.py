"""Changes as power series: the change of a whole layer at the cost of one column.

A product turns the change of a column into changes of whole rows. The change of each row is u w: a
number u that differs between lanes, times a row w of the matrix that all lanes of a column share.
A function of it can be expanded in powers of u,

    f(a + u w) - f(a) = c₁ u + c₂ u² + ... + cₘ uᵐ,

The coefficients are as wide as the layer, but the same for all lanes of a row and a column, and
there are hundreds of these. Products and sums are applied to the coefficients instead of the lanes.
The lanes are computed only where a later operation has no series. After a hidden layer of 100
features, for example, they are computed for the 10 features of the next layer.

A function of a value that has a series already continues the series: its coefficients follow from a
differential equation, term by term. So the series goes on through exp, log, sigmoids, and the
maximum of a row, down to the loss. A maximum has the series of its largest feature, if that is the
largest one in all lanes.

The series adds no error to the loss. It ends when the remainder, in every lane of the block, is
proven to be below half an ulp of f, which is the precision of f(a + u w) itself (`_orders`). There
is no series if it needs more than `MAX_POWERS` powers (the step is large), or if a comparison
differs between lanes (a kink lies between them). The lanes are then computed one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.gradients.perturb.changes import HALF_ULP, Change, change_of, sigmoid
from gradlab.gradients.perturb.scratch import into
from gradlab.params import Array
from gradlab.program.primitives import define, primitive_of

MAX_POWERS = 6
"""Largest number of powers in a series: beyond it, computing the lanes one by one is as fast."""

MIN_CHANGE_SIZE = 1e-40
"""Size below which a change counts as this large: powers of its inverse do not overflow."""


@dataclass(frozen=True)
class Powers:
    """A value and its perturbed value in each lane, as a power series.

    Examples
    --------
    >>> u = np.array([1e-6, 2e-6, 3e-6]).reshape(1, 3, 1)
    >>> two = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    >>> powers = Powers.rank_one(two, two + 1, u)
    >>> result = elementwise(np.exp, [powers], np.exp(two))
    >>> len(result.coefficients)
    3
    >>> bool(np.abs(result.change().new - np.exp(two + (two + 1) * u)).max() < 1e-15)
    True
    """

    base: Any  # shape (..., 1, 1, R): the value
    coefficients: list[Array]  # of u, u², ...: shape (..., J, 1, R) or (..., J, 1, 1)
    u: Array  # shape (J, M, R): the number u of each lane
    reach: Array  # shape (J, 1, R): the largest |u| in each column and row

    @classmethod
    def rank_one(cls, base: Any, w: Array, u: Array, axis: int = 1) -> Powers:
        """Return a value whose change is u w; u has the axes of the lanes."""
        reach = np.maximum(u.max(axis, keepdims=True), -u.min(axis, keepdims=True))
        return cls(base, [w], u, reach)

    def mapped(self, base: Any, function: Callable[[Array], Array]) -> Powers:
        """Apply a linear function to the series."""
        return Powers(base, [function(c) for c in self.coefficients], self.u, self.reach)

    def change(self) -> Change:
        """Evaluate the series in each lane by Horner's rule."""
        *lower, highest = self.coefficients
        delta = into(np.multiply, highest, self.u)
        for coefficient in reversed(lower):
            delta += coefficient
            delta *= self.u
        return Change(self.base, delta)

    def most(self) -> Any:
        """Return a bound on the change in any lane, shape (..., J, 1, R)."""
        bound: Any = 0.0
        for coefficient in reversed(self.coefficients):
            bound = (bound + np.abs(coefficient)) * self.reach
        return bound * (1 + 2.0**-40)  # the rounding error of the compared value


def elementwise(primitive: Any, operands: Sequence[Any], base: Any) -> Powers | Array | None:
    """Apply an elementwise operation to `Powers` and constant values.

    Return the series of the result, or its base if that does not change in any lane, as for a
    comparison; None if there is no series.
    """
    row = primitive_of(primitive)
    series = [o for o in operands if isinstance(o, Powers)]
    if row.sides:
        if not _keeps_side(operands):
            return None
        return _maximum(operands, base) if primitive is np.maximum else base
    if row.series is not None:
        (a,) = operands
        terms = row.series(a, base)
        return None if terms is None else Powers(base, terms, a.u, a.reach)
    if keeps_linear(primitive, [isinstance(o, Powers) for o in operands]):
        return _linear(primitive, operands, series, base)
    return None


def keeps_linear(primitive: Any, changed: Sequence[bool]) -> bool:
    """Tell whether an elementwise operation is linear in the operands that change."""
    linear = primitive_of(primitive).linear
    return linear(changed) if callable(linear) else linear


def is_series(primitive: Any, changed: Sequence[bool]) -> bool:
    """Tell whether the result has a power series if the operands that change have one."""
    row = primitive_of(primitive)
    return row.series is not None or row.sides or keeps_linear(primitive, changed)


def _linear(primitive: Any, operands: Sequence[Any], series: list[Powers], base: Any) -> Powers:
    """Apply a linear operation to each coefficient as if it were the change."""
    zero = np.zeros((1,) * np.ndim(series[0].coefficients[0]))

    def term(m: int) -> Array:
        given = [
            Change(o.base, o.coefficients[m] if m < len(o.coefficients) else zero)
            if isinstance(o, Powers)
            else o
            for o in operands
        ]
        return np.asarray(change_of(primitive, given, base).delta)

    first = series[0]
    orders = max(len(powers.coefficients) for powers in series)
    return Powers(base, [term(m) for m in range(orders)], first.u, first.reach)


def _keeps_side(operands: Sequence[Any]) -> bool:
    """Tell whether one value stays above or below the other in all lanes."""
    a, b = (o.base if isinstance(o, Powers) else o for o in operands)
    most = sum(o.most() for o in operands if isinstance(o, Powers))
    return bool((np.abs(a - b) > most).all())


def largest_feature(
    powers: Powers, base: Any, features: tuple[int, ...], axis: int, keepdims: bool
) -> Powers | None:
    """Return the series of the maximum along an axis, if one feature is the largest in all lanes.

    `features` is the shape of the values without lanes, and `base` the unperturbed maximum.
    """

    def filled(c: Array) -> Array:
        return np.broadcast_to(c, (*features, *c.shape[-3:]))

    value, most = filled(powers.base), filled(powers.most())
    where = np.expand_dims(value.argmax(axis), axis)
    least = np.take_along_axis(value - most, where, axis)
    if np.count_nonzero(value + most >= least) > least.size:  # each is at least as large itself
        return None
    at: Any = where
    is_same = bool((where == where.flat[0]).all())
    if is_same:
        at = int(where.flat[0])

    def taken(c: Array) -> Array:
        found = filled(c).take([at], axis) if is_same else np.take_along_axis(filled(c), at, axis)
        return found if keepdims else found.squeeze(axis)

    return powers.mapped(base, taken)


def _maximum(operands: Sequence[Any], base: Any) -> Powers | None:
    a, b = operands
    if not isinstance(a, Powers) or isinstance(b, Powers):
        return None
    above = a.base > b
    if above.all():
        return replace(a, base=base)
    return a.mapped(base, lambda c: c * above)


def _orders(a: Powers, radius: float, most: float) -> int | None:
    """Return how many powers of u a function of a series needs; None if they are too many.

    Let the function's own series, with the absolute values of its coefficients, be at most `most`
    at `radius`. With P(s) = Σ |cₙ| (s reach)ⁿ, the coefficients of the composition are at most
    those of that series at P. If P(s) ≤ radius, the terms after the N-th add up, at s = 1, to at
    most most / sᴺ⁺¹ (Cauchy's estimate: each is at least sᴺ⁺¹ times as large at s).
    """
    sizes = [
        float(np.max(np.abs(c) * a.reach**n, initial=0.0))
        for n, c in enumerate(a.coefficients, start=1)
    ]
    if not all(map(math.isfinite, sizes)):
        return None
    s = _largest_scale(sizes, radius)
    return next((n for n in range(1, MAX_POWERS + 1) if most < HALF_ULP * s ** (n + 1)), None)


def _largest_scale(sizes: Sequence[float], radius: float) -> float:
    """Return s, within a tenth, up to which Σ sizes[n] sⁿ⁺¹ is at most a radius."""
    s = radius / max(sizes[0], MIN_CHANGE_SIZE)
    while sum(size * s**n for n, size in enumerate(sizes, start=1)) > radius * (1 + 1e-9):
        s *= 0.9
    return s


def _solved(
    p: Sequence[Array], orders: int, first: Any, following: Callable[[list[Array]], Array]
) -> list[Array]:
    """Return the first terms of the solution of y' = p' g, y(0) = 0, for a series p.

    `first` is the first coefficient of g. Its n-th is `following` of the first n terms of y.
    """
    y: list[Array] = []
    g = [first]
    for n in range(1, orders + 1):
        total = sum(i * c * g[n - i] for i, c in enumerate(p[:n], start=1))
        y.append(total / n if n > 1 else total)
        g.append(following(y) if n < orders else first)
    return y


def _exp(a: Powers, base: Any) -> list[Array] | None:
    """With y = exp(a + p) - exp(a): y' = p' (exp(a) + y). At 3, exp is below 20.1."""
    orders = _orders(a, 3.0, 20.1)
    return None if orders is None else _solved(a.coefficients, orders, base, lambda y: y[-1])


def _log(a: Powers, base: Any) -> list[Array] | None:
    """log(a + p) - log(a) = log(1 + q) with q = p/a: y' = q' g, where g = 1 / (1 + q).

    With the signs of its series dropped, log(1 + q) is -log(1 - q), which is below 1.4 at 3/4.
    """
    q = [c / a.base for c in a.coefficients]
    orders = _orders(replace(a, coefficients=q), 0.75, 1.4)
    if orders is None:
        return None
    g = [np.ones(())]

    def following(y: list[Array]) -> Array:
        g.append(-sum(c * g[-i] for i, c in enumerate(q[: len(y)], start=1)))
        return np.asarray(g[-1])

    return _solved(q, orders, g[0], following)


def _square(a: Powers, base: Any) -> list[Array]:
    """Return 2 a d + d² for a series d of any length."""
    m = len(a.coefficients)
    terms = [2 * a.base * c for c in a.coefficients] + [np.zeros(()) for _ in range(m)]
    for i, first in enumerate(a.coefficients):
        for j, second in enumerate(a.coefficients):
            terms[i + j + 1] = terms[i + j + 1] + first * second
    return terms


def _sigmoid(a: Powers, base: Any) -> list[Array] | None:
    orders = _orders(a, 1.0, 2.5)
    if orders is None:
        return None
    return _logistic(a.coefficients, base * sigmoid(-a.base), base - 0.5, orders)


def _tanh(a: Powers, base: Any) -> list[Array] | None:
    """tanh(x) = 2 σ(2x) - 1."""
    double = a.mapped(a.base, lambda c: 2 * c)
    orders = _orders(double, 1.0, 2.5)
    if orders is None:
        return None
    slope = (1 - base) * (1 + base) / 4
    return [2 * term for term in _logistic(double.coefficients, slope, base / 2, orders)]


def _logistic(p: Sequence[Array], slope: Any, b: Any, orders: int) -> list[Array]:
    """Return the series of y = σ(a + p) - σ(a), where slope = σ(a) (1 - σ(a)), b = σ(a) - 1/2.

    It follows term by term from y' = p' (slope - 2 b y - y²). With |b| ≤ 1/2 its coefficients are
    at most those of slope (tan p + sec p - 1), which at p = 1 is below 2.5 σ(a).
    """

    def following(y: list[Array]) -> Any:
        n = len(y)
        return np.asarray(-2 * b * y[-1] - sum(y[i] * y[n - 2 - i] for i in range(n - 1)))

    return _solved(p, orders, slope, following)


define(np.exp, series=_exp)
define(np.log, series=_log)
define(np.tanh, series=_tanh)
define(np.square, series=_square)
define(sigmoid, series=_sigmoid)
