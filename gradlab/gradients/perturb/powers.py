"""Changes as power series: as wide as a layer, at the price of a column.

Behind the product in which a moved column becomes whole rows, the change of each row is u w: a
number u, which differs from lane to lane, times a row w of the matrix, which all lanes of a column
share. A function of it can be taken in powers of u,

    f(a + u w) - f(a) = c₁ u + c₂ u² + ... + cₘ uᵐ,

whose coefficients are as wide as the layer, but the same for all lanes of a row and a column: there
are hundreds of these. Matrices and sums take the coefficients in place of the lanes, and only where
what follows has no such series are the lanes filled in: behind a hidden layer of 100, in the 10
features of the next.

The series is no approximation of the loss. It ends where what is left out of it, in any lane of the
block, is below half an ulp of f itself, which is all that computing f(a + u w) would give. If that
takes more than `MOST` powers (the step is large), or a comparison comes out differently among the
lanes (a kink lies between), there is no series, and the lanes are computed one by one.
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
"""Powers in a series: of more, each costs about what computing the lanes one by one does."""


@dataclass(frozen=True)
class Powers:
    """A value, and what it is moved to in each lane, as a power series.

    Attributes
    ----------
    base : ndarray, shape (..., 1, 1, R)
        The value.
    coefficients : list of ndarray, shape (..., J, 1, R) or (..., J, 1, 1)
        Of u, u², and so on.
    u : ndarray, shape (J, M, R)
        The number that each lane has.
    reach : ndarray, shape (J, 1, R)
        The largest |u| of a column and a row.

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
        """Return a value that is changed by u w; the lanes are an axis of u."""
        reach = np.maximum(u.max(axis, keepdims=True), -u.min(axis, keepdims=True))
        return cls(base, [w], u, reach)

    def mapped(self, base: Any, function: Callable[[Array], Array]) -> Powers:
        """Return a linear function of it."""
        return Powers(base, [function(c) for c in self.coefficients], self.u, self.reach)

    def change(self) -> Change:
        """Fill the lanes in, by Horner's rule."""
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
        return bound * (1 + 2.0**-40)  # the rounding of what is compared with it


def elementwise(primitive: Any, operands: Sequence[Any], base: Any) -> Powers | Array | None:
    """Return an operation on entries of `Powers` and static values as such.

    Returns
    -------
    Powers
        Of the result.
    ndarray
        The base, where it does not change in any lane: a comparison.
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
    """Tell whether an operation on entries is linear in those operands that change."""
    linear = primitive_of(primitive).linear
    return linear(changed) if callable(linear) else linear


def is_first_order(primitive: Any, changed: Sequence[bool], given: bool) -> bool | None:
    """Tell whether the series of a result has one power alone; None if there is no series.

    Parameters
    ----------
    primitive : callable
        The operation.
    changed : sequence of bool
        Which of its operands change.
    given : bool
        Whether their series have one power alone.
    """
    row = primitive_of(primitive)
    if row.series is not None:
        return False if given or primitive is np.square else None
    return given if row.sides or keeps_linear(primitive, changed) else None


def _linear(primitive: Any, operands: Sequence[Any], series: list[Powers], base: Any) -> Powers:
    """Let each coefficient through as if it were the change."""
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
    """Tell whether one value stays above or below the other, in all lanes."""
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
    """Return how many powers it takes until `tail`, relative to the result, is below rounding."""
    if not d <= 0.25:  # NaN, too
        return None
    return next((m for m in range(1, MOST + 1) if tail(m) < HALF_ULP), None)


def _exp(a: Powers, base: Any) -> list[Array] | None:
    """exp(a) (d + d²/2! + ...): what is left out is below dᵐ⁺¹/(m+1)! exp(d) of exp(a)."""
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
    """Return 2 a d + d², whatever the powers of d."""
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
    each at most two thirds of the one before from the second on: what is left out after m powers of
    d ≤ 1/4 is below dᵐ⁺¹ of σ(a).
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
