"""Changes as power series: the change of a whole layer at the cost of one column.

A product turns the change of a column into changes of whole rows. The change of each row is u w: a
number u that differs between lanes, times a row w of the matrix that all lanes of a column share.
A function of it can be expanded in powers of u,

    f(a + u w) - f(a) = c₁ u + c₂ u² + ... + cₘ uᵐ,

The coefficients are as wide as the layer, but the same for all lanes of a row and a column, and
there are hundreds of these. Products and sums are applied to the coefficients instead of the lanes.
The lanes are computed only where a later operation has no series. After a hidden layer of 100
features, for example, they are computed for the 10 features of the next layer.

The series adds no error to the loss. It ends when the remainder, in every lane of the block, is
below half an ulp of f, which is the precision of f(a + u w) itself. There is no series if it needs
more than `MOST` powers (the step is large), or if a comparison differs between lanes (a kink lies
between them). The lanes are then computed one by one.
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

MOST = 6
"""Largest number of powers in a series: beyond it, computing the lanes one by one is as fast."""


@dataclass(frozen=True)
class Powers:
    """A value and its perturbed value in each lane, as a power series.

    Attributes
    ----------
    base : ndarray, shape (..., 1, 1, R)
        The value.
    coefficients : list of ndarray, shape (..., J, 1, R) or (..., J, 1, 1)
        The coefficients of u, u², and so on.
    u : ndarray, shape (J, M, R)
        The number u of each lane.
    reach : ndarray, shape (J, 1, R)
        The largest |u| in each column and row.

    Examples
    --------
    >>> u = np.array([1e-6, 2e-6, 3e-6]).reshape(1, 3, 1)
    >>> two = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    >>> powers = Powers.rank_one(two, two + 1, u)
    >>> result = elementwise(np.exp, [powers], np.exp(two))
    >>> len(result.coefficients)
    2
    >>> bool(np.abs(result.change().new - np.exp(two + (two + 1) * u)).max() < 1e-15)
    True
    """

    base: Any
    coefficients: list[Array]
    u: Array
    reach: Array

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

    Returns
    -------
    Powers
        The series of the result.
    ndarray
        The base, if it does not change in any lane, such as that of a comparison.
    None
        If there is no series.
    """
    row = primitive_of(primitive)
    series = [o for o in operands if isinstance(o, Powers)]
    if row.sides:
        if not _keeps_side(operands):
            return None
        return _maximum(operands, base) if primitive is np.maximum else base
    if row.series is not None:
        (a,) = operands
        is_too_long = len(a.coefficients) > 1 and primitive is not np.square
        terms = None if is_too_long else row.series(a, base)
        return None if terms is None else Powers(base, terms, a.u, a.reach)
    if keeps_linear(primitive, [isinstance(o, Powers) for o in operands]):
        return _linear(primitive, operands, series, base)
    return None


def keeps_linear(primitive: Any, changed: Sequence[bool]) -> bool:
    """Tell whether an elementwise operation is linear in the operands that change."""
    linear = primitive_of(primitive).linear
    return linear(changed) if callable(linear) else linear


def is_first_order(primitive: Any, changed: Sequence[bool], given: bool) -> bool | None:
    """Tell whether the series of a result has only its first power; None if there is no series.

    Parameters
    ----------
    primitive : callable
        The operation.
    changed : sequence of bool
        Whether each operand changes.
    given : bool
        Whether the operands' series have only their first power.
    """
    row = primitive_of(primitive)
    if row.series is not None:
        return False if given or primitive is np.square else None
    return given if row.sides or keeps_linear(primitive, changed) else None


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


def _maximum(operands: Sequence[Any], base: Any) -> Powers | None:
    a, b = operands
    if not isinstance(a, Powers) or isinstance(b, Powers):
        return None
    above = a.base > b
    if above.all():
        return replace(a, base=base)
    return a.mapped(base, lambda c: c * above)


def _orders(d: float, tail: Callable[[int], float]) -> int | None:
    """Return the number of powers after which `tail`, relative to the result, is below rounding."""
    if not d <= 0.25:  # NaN, too
        return None
    return next((m for m in range(1, MOST + 1) if tail(m) < HALF_ULP), None)


def _exp(a: Powers, base: Any) -> list[Array] | None:
    """exp(a) (d + d²/2! + ...): the remainder, relative to exp(a), is below dᵐ⁺¹/(m+1)! exp(d)."""
    (w,) = a.coefficients
    d = float(a.most().max(initial=0.0))
    orders = _orders(d, lambda m: d ** (m + 1) / math.factorial(m + 1) * 1.3)
    if orders is None:
        return None
    terms = [base * w]
    for m in range(2, orders + 1):
        terms.append(terms[-1] * w / m)
    return terms


def _square(a: Powers, base: Any) -> list[Array]:
    """Return 2 a d + d² for a series d of any length."""
    m = len(a.coefficients)
    terms = [2 * a.base * c for c in a.coefficients] + [np.zeros(()) for _ in range(m)]
    for i, first in enumerate(a.coefficients):
        for j, second in enumerate(a.coefficients):
            terms[i + j + 1] = terms[i + j + 1] + first * second
    return terms


def _sigmoid(a: Powers, base: Any) -> list[Array] | None:
    (w,) = a.coefficients
    d = float(a.most().max(initial=0.0))
    orders = _orders(d, lambda m: d ** (m + 1))
    return None if orders is None else _logistic(w, base * sigmoid(-a.base), base - 0.5, orders)


def _tanh(a: Powers, base: Any) -> list[Array] | None:
    """tanh(x) = 2 σ(2x) - 1."""
    (w,) = a.coefficients
    d = 2 * float(a.most().max(initial=0.0))
    orders = _orders(d, lambda m: d ** (m + 1) / 2)
    if orders is None:
        return None
    slope = (1 - base) * (1 + base) / 4
    return [2 * term for term in _logistic(2 * w, slope, base / 2, orders)]


def _logistic(w: Array, slope: Any, b: Any, orders: int) -> list[Array]:
    """Return the series of y = σ(a + u w) - σ(a), where slope = σ(a) (1 - σ(a)), b = σ(a) - 1/2.

    It follows term by term from y' = w (slope - 2 b y - y²). With |b| ≤ 1/2 its coefficients in
    u w are at most those of slope (tan x + sec x - 1) = slope (x + x²/2 + x³/3 + 5x⁴/24 + ...),
    and from the second on, each is at most two thirds of the one before. The remainder after m
    powers of d ≤ 1/4, relative to σ(a), is below dᵐ⁺¹.
    """
    terms = [w * slope]
    for m in range(1, orders):
        term = -2 * b * terms[m - 1]
        for i in range(m - 1):
            term -= terms[i] * terms[m - 2 - i]
        terms.append(term * w / (m + 1))
    return terms


define(np.exp, series=_exp)
define(np.tanh, series=_tanh)
define(np.square, series=_square)
define(sigmoid, series=_sigmoid)
