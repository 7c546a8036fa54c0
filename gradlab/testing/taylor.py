"""Taylor coefficients of the elementary functions at x, each from its differential equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import factorial
from operator import add

import numpy as np

from gradlab.params import Array

REAL_FUNCTIONS_PER_COMPLEX = 4
"""Upper bound on the real elementary functions that a complex one is made of."""


def _solution(start: Array, slope: Callable[[list[Array]], Array], n: int) -> list[Array]:
    """Return v of n terms, where slope(v_0, ..., v_k) is the k-th coefficient of v'."""
    v = [start]
    while len(v) < n:
        v.append(slope(v) / len(v))
    return v


def exp(x: Array, n: int) -> list[Array]:
    """Return n coefficients of exp: v' = v."""
    return _solution(np.exp(x), lambda v: v[-1], n)


def expm1(x: Array, n: int) -> list[Array]:
    """Return n coefficients of exp(x) - 1, without cancellation."""
    return [np.expm1(x), *exp(x, n)[1:]]


def tanh(x: Array, n: int) -> list[Array]:
    """Return n coefficients of tanh: v' = 1 - v²."""

    def slope(v: list[Array]) -> Array:  # 1 − v², the first without cancellation
        square = reduce(add, [a * b for a, b in zip(v, reversed(v), strict=True)])
        return 1 / np.cosh(x) ** 2 if len(v) == 1 else -square

    return _solution(np.tanh(x), slope, n)


def sin(x: Array, n: int) -> list[Array]:
    """Return n coefficients of sin, by its derivatives."""
    s, c = np.sin(x), np.cos(x)
    return [(s, c, -s, -c)[k % 4] / factorial(k) for k in range(n)]


def cos(x: Array, n: int) -> list[Array]:
    """Return n coefficients of cos, by its derivatives."""
    s, c = np.sin(x), np.cos(x)
    return [(c, -s, -c, s)[k % 4] / factorial(k) for k in range(n)]


def log(x: Array, n: int) -> list[Array]:
    """Return n coefficients of log: v' = 1/x."""
    reciprocal = power(x, n, -1)
    return _solution(np.log(x), lambda v: reciprocal[len(v) - 1], n)


def log1p(x: Array, n: int) -> list[Array]:
    """Return n coefficients of log(1 + x), without cancellation."""
    return [np.log1p(x), *log(1 + x, n)[1:]]


def sqrt(x: Array, n: int) -> list[Array]:
    """Return n coefficients of sqrt: a power."""
    return [np.sqrt(x), *power(x, n, 0.5)[1:]]


def power(x: Array, n: int, p: float) -> list[Array]:
    """Return n coefficients of xᵖ: the binomial series."""
    binomials = [1.0]
    for k in range(1, n):
        binomials.append(binomials[-1] * (p - k + 1) / k)
    # Not 0 * x**-1, which is a NaN at 0.
    return [c * x ** (p - k) if c else np.zeros_like(x) for k, c in enumerate(binomials)]


def complex_power(x: Array, p: float) -> int:
    """Count what a complex power rounds more: by repeated products, or as exp(p log x)."""
    exponent = np.abs(p * np.log(np.abs(x[x != 0]))).max(initial=0.0)
    return int(np.ceil(2 * abs(p) + REAL_FUNCTIONS_PER_COMPLEX * min(exponent, 1e6)))


def compose(local: Sequence[Array], u: Array) -> list[Array]:
    """Return the Taylor coefficients of φ(u) = Σ_i φ_i (u − u₀)^i, from those of φ at u₀ and u."""
    terms = len(u)
    result = [local[0], *(local[1] * u[k] for k in range(1, terms))]
    power = dict(enumerate(u))  # of (u − u₀)^i, whose coefficients begin with the i-th
    for i in range(2, terms):
        power = {
            k: reduce(add, [power[j] * u[k - j] for j in range(i - 1, k)]) for k in range(i, terms)
        }
        for k in power:
            result[k] = result[k] + local[i] * power[k]
    return result
