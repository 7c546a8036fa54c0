"""What all rays of one evaluation share: the points of the method, dtypes, roundings, decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.params import Array


@dataclass(frozen=True)
class Formula:
    """The points and weights of a method, from which its error follows."""

    # Where it evaluates the loss, in steps from x; the centre comes first.
    points: tuple[int, ...] = (0,)
    # Their weights, and the places in `points` of their upper and lower ends.
    quotients: tuple[tuple[float, int, int], ...] = ()
    order: int = 0  # the order q of the truncation error, h^q; 0 if it has none
    guarded: bool = False  # whether it is extrapolation, held to this formula by its error estimate
    forward: bool = False  # whether the slopes are carried forward, as imaginary parts

    @property
    def terms(self) -> int:
        """The Taylor coefficients that are needed: up to the derivative of order q + 1."""
        return self.order + 2


_FOURTH = Formula((0, 1, -1, 2, -2), ((4 / 3, 1, 2), (-1 / 3, 3, 4)), order=4)

FORMULAS: dict[str, Formula] = {
    "forward": Formula((0, 1), ((1.0, 1, 0),), order=1),
    "central": Formula((0, 1, -1), ((1.0, 1, 2),), order=2),
    "central4": _FOURTH,
    "richardson": replace(_FOURTH, guarded=True),
    "complex-step": Formula(forward=True),
    "reverse": Formula(),
}


class RayContext:
    """One evaluation of a loss on rays, for p coordinates.

    The namespace has the functions of rays; see `gradlab.testing.ray_rules`. `inner` is the
    narrowest dtype in which an operation may be done, `result` that of the parameters, to which the
    gradient is rounded.
    """

    def __init__(
        self,
        namespace: Any,
        formula: Formula,
        inner: np.dtype[Any] | None,
        result: np.dtype[Any],
        p: int,
    ) -> None:
        self.namespace, self.formula = namespace, formula
        self.terms, self.forward = formula.terms, formula.forward
        self._inner, self._result = np.finfo(inner or result), np.finfo(result)
        self.epsilon = float(self._inner.eps)
        self.p = p
        # The coordinates along which the loss may have a kink between its points.
        self.kinked = np.zeros(p, dtype=bool)

    def at_points(self, values: Array) -> Array:
        """Split the axis q of a scalar ray: shape (..., q) -> (..., points, p)."""
        points = len(self.formula.points)
        whole = np.broadcast_to(values, (*values.shape[:-1], points * self.p))
        return whole.reshape(*values.shape[:-1], points, self.p)

    def gamma(self, n: int) -> float:
        """Return γ_n = n u / (1 − n u), the relative error of n roundings; infinite if n u ≥ 1."""
        nu = n * self.epsilon / 2
        return nu / (1 - nu) if nu < 1 else np.inf

    def rounding(self, size: Array, n: int) -> Array:
        """Bound the error of n roundings of a value of this size; underflow included."""
        return self.gamma(n) * size + float(self._inner.smallest_normal)

    def cast(self, size: Array) -> Array:
        """Bound the error of rounding the result to the parameters' dtype."""
        if self._result.eps <= self._inner.eps:
            return np.zeros_like(size)
        return size * float(self._result.eps) / 2 + float(self._result.smallest_normal)

    def observe(self, outcome: Array, uncertain: Array) -> None:
        """Note the coordinates along which a decision changes, or could change by rounding.

        Both arrays have the shape (q, ...), where q is 1 or points * p: the outcome, such as the
        result of a comparison, and whether rounding could change it.
        """
        doubt = uncertain.reshape(len(uncertain), -1).any(axis=1)
        if len(outcome) > 1:
            points = len(self.formula.points)
            each = outcome.reshape(points, self.p, -1)
            doubts = doubt.reshape(points, -1).any(axis=0)
            self.kinked |= (each != each[0]).any(axis=(0, 2)) | doubts
        else:
            self.kinked |= doubt
