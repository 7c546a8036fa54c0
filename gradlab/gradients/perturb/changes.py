"""The change of an elementwise result from the changes of its operands: one rule per operation.

A `Change` is a perturbed value. It holds the unperturbed value, `base`, and either the difference
(`delta`) or the perturbed value (`new`). The other of the two is computed on first use. The last
axes of its arrays are *lanes*. Each lane is one perturbation, and the base is broadcast over them::

    base (features, 1)   delta (features, lanes)

Any elementwise operation can be repeated on the lanes: ``new = f(new)``. A rule computes the change
of the result from the changes of the operands instead. That is cheaper or more accurate, because it
does not subtract two large numbers. All rules are identities, not expansions:

    exp(a + d) - exp(a)   = exp(a) expm1(d)
    log(a + d) - log(a)   = log1p(d / a)
    tanh(a + d) - tanh(a) = (1 - t²) T / (1 + t T)                with t = tanh(a), T = tanh(d)
    σ(a + d) - σ(a)       = s (1 - s) 2 T / (1 + (2 s - 1) T)     with s = σ(a), T = tanh(d/2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.gradients.perturb.scratch import into
from gradlab.params import Array
from gradlab.program.primitives import Kind, define, primitive_of


class Change:
    """A value and its perturbed value in each lane.

    Examples
    --------
    >>> change = Change(np.array([[1.0], [2.0]]), delta=np.array([[0.5, 0.25], [0.0, 1.0]]))
    >>> change.new
    array([[1.5 , 1.25],
           [2.  , 3.  ]])
    """

    __slots__ = ("_delta", "_new", "base")

    def __init__(self, base: Any, delta: Any = None, new: Any = None) -> None:
        self.base = base
        self._delta = delta
        self._new = new

    @property
    def delta(self) -> Any:
        """The perturbed value minus the base."""
        if self._delta is None:
            self._delta = np.subtract(self._new, self.base, dtype=np.float64)  # booleans, too
        return self._delta

    @property
    def new(self) -> Any:
        """The perturbed value."""
        if self._new is None:
            self._new = self.base + self._delta
        return self._new

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that has been computed."""
        known = self._new if self._delta is None else self._delta
        return np.shape(known)


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)): replaces the operations that `simplify` recognises as a sigmoid."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, z) / (1.0 + z)


def change_of(primitive: Any, operands: Sequence[Any], base: Any) -> Change:
    """Return the change of an elementwise operation's result; `base` is the unperturbed one.

    The operands broadcast against each other. At least one is a `Change`.

    Examples
    --------
    >>> a = Change(2.0, delta=np.array([1e-20]))
    >>> change_of(np.exp, [a], np.exp(2.0)).delta / np.exp(2.0)  # exp(2 + 1e-20) - exp(2) is 0
    array([1.e-20])
    """
    rule = primitive_of(primitive).change
    if rule is not None and np.asarray(base).dtype.kind == "f":
        delta = rule(operands, base)
        if delta is not None:
            return Change(base, delta)
    return Change(base, new=primitive(*[o.new if isinstance(o, Change) else o for o in operands]))


HALF_ULP = 2.0**-53
"""Relative size below which a remainder vanishes in rounding: half an ulp of 1."""


def expm1(d: Array) -> Array:
    """Return exp(d) - 1, by the shortest series whose remainder is below half an ulp of exp(d).

    The remainder of d + ... + dᵐ/m! is at most |d|ᵐ⁺¹/(m+1)! exp|d|. The error of
    ``exp(a) + exp(a) expm1(d)`` is then below the rounding of that sum.

    Examples
    --------
    >>> d = np.array([-1e-5, 1e-6])
    >>> bool(np.abs(expm1(d) - np.expm1(d)).max() < 2**-53)
    True
    """
    largest = _largest(d)
    if not largest**4 * 1.01 < 24 * HALF_ULP:  # NaN, too
        return np.asarray(into(np.expm1, d))
    if largest**3 * 1.01 < 6 * HALF_ULP:
        e = into(np.multiply, d, 0.5)
    else:
        e = into(np.multiply, d, 1 / 6)
        e += 0.5
        e *= d
    e += 1.0
    e *= d
    return np.asarray(e)


def tanh_half(d: Array) -> Array:
    """Return 2 tanh(d/2), by the shortest series whose remainder is below half an ulp of 1.

    With u = d/2 it is 2 (u - u³/3 + 2u⁵/15 - ...), whose terms alternate and decrease.

    Examples
    --------
    >>> d = np.array([-1e-5, 1e-4])
    >>> bool(np.abs(tanh_half(d) - 2 * np.tanh(d / 2)).max() < 2**-53)
    True
    """
    largest = _largest(d)
    if largest**3 < 12 * HALF_ULP:
        return d
    if not largest**5 < 120 * HALF_ULP:  # NaN, too
        t = into(np.multiply, d, 0.5)
        np.tanh(t, out=t)
        t *= 2
        return np.asarray(t)
    t = into(np.multiply, d, d)
    t *= -1 / 12
    t += 1
    t *= d
    return np.asarray(t)


def _largest(d: Array) -> Any:
    # A NumPy number: its powers overflow to infinity, while those of a Python float raise an error.
    return np.float64(max(d.max(initial=0.0), -d.min(initial=0.0)))


# The rules, one per operation. Each takes the operands and the base of the result, and returns the
# change of the result, or None if it does not apply to these operands.


def _add(operands: Sequence[Any], base: Any) -> Any:
    a, b = operands
    if isinstance(a, Change):
        return a.delta + b.delta if isinstance(b, Change) else a.delta
    return b.delta


def _subtract(operands: Sequence[Any], base: Any) -> Any:
    a, b = operands
    if isinstance(a, Change):
        return a.delta - b.delta if isinstance(b, Change) else a.delta
    return -b.delta


def _negative(operands: Sequence[Any], base: Any) -> Any:
    return -operands[0].delta


def _multiply(operands: Sequence[Any], base: Any) -> Any:
    a, b = operands
    if not isinstance(a, Change):
        return b.delta * a
    if not isinstance(b, Change):
        return a.delta * b
    return a.delta * b.new + a.base * b.delta


def _divide(operands: Sequence[Any], base: Any) -> Any:
    a, b = operands
    if not isinstance(b, Change):
        return a.delta / b
    rest = -base * b.delta
    if isinstance(a, Change):
        rest = a.delta + rest
    rest /= b.new
    return rest


def _square(operands: Sequence[Any], base: Any) -> Any:
    (a,) = operands
    return a.delta * (2 * a.base + a.delta)


def _exp(operands: Sequence[Any], base: Any) -> Any:
    result = expm1(operands[0].delta)
    result *= base
    return result


def _log(operands: Sequence[Any], base: Any) -> Any:
    (a,) = operands
    return np.log1p(a.delta / a.base)


def _sigmoid(operands: Sequence[Any], base: Any) -> Any:
    (a,) = operands
    t = tanh_half(a.delta)
    below = into(np.multiply, t, base - 0.5)
    below += 1.0
    # s (1 - s), with 1 - s computed as σ(-a): for large a, 1 - s would lose all digits.
    rise = into(np.multiply, t, base * sigmoid(-a.base))
    rise /= below
    return rise


def _tanh(operands: Sequence[Any], base: Any) -> Any:
    (a,) = operands
    if _largest(a.delta) > 1.0:
        return None
    t = tanh_half(2 * a.delta)
    t *= 0.5
    return t * (1 - base) * (1 + base) / (1 + base * t)


def _maximum(operands: Sequence[Any], base: Any) -> Any:
    """Pass the change on or drop it; recompute features for which the lanes decide differently."""
    a, b = operands
    if not isinstance(a, Change) or isinstance(b, Change) or np.ndim(b):
        return None
    above = a.base - b
    near = np.abs(above) <= _largest(a.delta)
    if not near.any() and (above > 0).all():
        return a.delta
    if near.any() and np.shape(near)[:1] != a.delta.shape[:1]:
        return None
    delta = into(np.multiply, a.delta, above > 0)
    features = np.flatnonzero(near.reshape(len(near), -1).any(1))
    if len(features):
        rows = a.base[features]
        delta[features] = np.maximum(rows + a.delta[features], b) - base[features]
    return delta


def _where(operands: Sequence[Any], base: Any) -> Any:
    condition, a, b = operands
    if isinstance(condition, Change):
        return None
    return np.where(condition, *[o.delta if isinstance(o, Change) else 0.0 for o in (a, b)])


for _function, _rule in (
    (np.add, _add),
    (np.subtract, _subtract),
    (np.negative, _negative),
    (np.multiply, _multiply),
    (np.divide, _divide),
    (np.square, _square),
    (np.exp, _exp),
    (np.log, _log),
    (np.tanh, _tanh),
    (np.maximum, _maximum),
    (np.where, _where),
):
    define(_function, change=_rule)
define(sigmoid, kind=Kind.ELEMENTWISE, arity=1, pure=True, raises=False, change=_sigmoid)
