"""The common properties of all rays of one evaluation: dtypes, roundings, and decisions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.params import Array
from gradlab.testing.formulas import Formula


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
